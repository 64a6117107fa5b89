//! The pages that say how to have only signed images, and how to verify them in CI, typed in as they stand: with real crane
//! and cosign, and nothing of the internet within reach.
//!
//! Other than on the pages are the names of the server and of one file; `docker`, `systemctl` and `kubectl` are stand-ins
//! (what docker pushes, crane does), and the server is restarted from here.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::clients::{COMMAND_MAX, image, last_manifest, write_layout};
use crate::runner::Context;
use crate::server::Server;

const ONLY_SIGNED: &str = include_str!("../../../../docs/how-to/only-signed-images.md");
const IN_CI: &str = include_str!("../../../../docs/how-to/verify-in-ci.md");
const WORKFLOW: &str = include_str!("../../../../docs/examples/github-actions-verify.yml");

/// The server on the pages.
const HOST: &str = "registry.example.com";
/// The file of the policies there.
const POLICY: &str = "/etc/bonded/policy.yaml";

/// What docker does on the page: log in, and push an image by its digest.
const DOCKER: &str = r#"#!/bin/sh
case $1 in
  login) shift; crane auth login "$@" ;;
  buildx) crane push layout "$PUSHED" && cp build.json.made build.json ;;
  *) exit 1 ;;
esac
"#;

/// Runs both pages from top to bottom.
pub(super) async fn run(context: &Context) -> Result<()> {
    let mut town = Town::found(context).await?;
    town.type_in(block(ONLY_SIGNED, "## 1. A key", "sh")?).await?;
    town.type_in(block(ONLY_SIGNED, "## 2. Who pushes", "sh")?).await?;
    let policy = block(ONLY_SIGNED, "## 3. The policy", "yaml")?;
    // The workflow has them in a folder of its repository.
    std::fs::create_dir(town.home.path().join("deploy"))?;
    std::fs::copy(town.home.path().join("cosign.pub"), town.home.path().join("deploy/cosign.pub"))?;
    for name in ["policy.yaml", "deploy/policy.yaml"] {
        town.write(name, policy)?;
    }
    town.type_in("bonded policy check /etc/bonded/policy.yaml && systemctl restart bonded").await?;
    town.restart_with(block(ONLY_SIGNED, "## 3. The policy", "toml")?).await?;
    let image = pushed(context, &mut town).await?;
    in_ci(&town, 10).await.context("what nobody signed, in CI")?;
    signed(&mut town, &image).await?;
    in_ci(&town, 0).await.context("what is signed, in CI")?;
    town.server.stop().await.map(drop)
}

/// Section 4: a push without a signature, and a pull that is refused.
async fn pushed(context: &Context, town: &mut Town) -> Result<String> {
    let set = image(context);
    let digest = last_manifest(&set)?.digest.clone();
    write_layout(&town.home.path().join("layout"), &set, "v1")?;
    town.variables.push(("PUSHED", format!("{}/prod/app@{digest}", town.host())));
    town.write("build.json.made", &format!(r#"{{"containerimage.digest": "{digest}"}}"#))?;
    let section = "## 4. Push, and see it refused";
    let image = town.type_in(&format!("{}\nprintf %s \"$image\"", block(ONLY_SIGNED, section, "sh")?)).await?;
    let image = image.lines().last().unwrap_or_default().to_owned();
    ensure!(image == format!("{}/prod/app@{digest}", town.host()), "the image is {image}");
    town.variables.extend([("image", image.clone()), ("DIGEST", digest)]);

    let pull = second_block(ONLY_SIGNED, section)?;
    let (log_in, pull) = pull.split_once('\n').context("two commands")?;
    town.type_in_as("nodes", log_in).await?;
    let answer = block(ONLY_SIGNED, section, "text")?.trim();
    let Err(error) = town.type_in_as("nodes", pull).await else { bail!("`{pull}` is not refused") };
    ensure!(format!("{error:#}").contains(answer), "`{pull}` does not say `{answer}`: {error:#}");
    Ok(image)
}

/// Section 5: signed, and let in by the server that has run all the time.
async fn signed(town: &mut Town, image: &str) -> Result<()> {
    let section = "## 5. Sign, and see it allowed";
    for line in block(ONLY_SIGNED, section, "sh")?.lines() {
        let person = if line.contains("# as prod+nodes") { "nodes" } else { "ci" };
        ensure!(line.contains(&format!("# as prod+{person}")), "`{line}` does not say who types it");
        town.type_in_as(person, line).await?;
    }
    town.type_in_as("nodes", second_block(ONLY_SIGNED, section)?).await?;
    ensure!(town.type_in_as("nodes", "crane manifest \"$image\"").await?.contains("layers"), "{image} is no image");
    Ok(())
}

/// The steps of the page about CI, which end with this code before anything is deployed.
async fn in_ci(town: &Town, code: i32) -> Result<()> {
    let deploy = second_block(IN_CI, "# Verify signatures in CI")?;
    // The tag is there once the image is signed.
    if code == 0 {
        let said = town.type_in_as("nodes", &format!("set -e\n{deploy}")).await?;
        let expected = format!("deployed app={}/prod/app@{}", town.host(), town.variable("DIGEST"));
        ensure!(said.ends_with(&expected), "deployed is {said}, not {expected}");
    }
    let script = block(IN_CI, "## Jenkins, or any shell", "sh")?;
    town.ends_with("nodes", script, code).await.context("the script for Jenkins")?;
    let line = "bonded verify \"$IMAGE@$DIGEST\" --policy policy.yaml";
    ensure!(block(IN_CI, "## GitLab CI", "yaml")?.contains(&format!("- {line}\n")), "GitLab runs something else");
    town.ends_with("nodes", line, code).await.context("the step for GitLab")?;
    for (name, value) in [("REGISTRY", HOST), ("REPOSITORY", "prod/app")] {
        ensure!(WORKFLOW.contains(&format!("  {name}: {value}\n")), "the workflow has another {name}");
    }
    let steps: Vec<&str> = WORKFLOW.lines().filter_map(|line| line.trim().strip_prefix("run: ")).collect();
    let [verify, deploy] = steps[..] else { bail!("the workflow has the steps {steps:?}") };
    town.ends_with("nodes", verify, code).await.context("the step for GitHub")?;
    if code == 0 {
        town.type_in_as("nodes", deploy).await?;
    }
    Ok(())
}

/// A server with accounts, and the shell of whoever follows the pages.
struct Town {
    server: Server,
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Town {
    async fn found(context: &Context) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("bonded-page-").tempdir()?;
        let programs = home.path().join("bin");
        std::fs::create_dir(&programs)?;
        symlink(context.binary()?, programs.join("bonded"))?;
        for program in ["crane", "cosign"] {
            symlink(context.tool(program)?, programs.join(program))?;
        }
        let jq = r#"sed -n 's/.*"containerimage.digest": "\([^"]*\)".*/\1/p' "$3""#;
        for (name, text) in [
            ("docker", DOCKER.to_owned()),
            ("systemctl", "#!/bin/sh\n".to_owned()),
            ("kubectl", "#!/bin/sh\necho \"deployed $4\"\n".to_owned()),
            ("jq", format!("#!/bin/sh\n{jq}\n")),
        ] {
            std::fs::write(programs.join(name), text)?;
            std::fs::set_permissions(programs.join(name), PermissionsExt::from_mode(0o755))?;
        }
        let secret = home.path().join("secret");
        std::fs::write(&secret, [context.random.word(), "0".repeat(32)].concat())?;
        let server = context.start_server(&format!("auth.secret_file = \"{}\"\n", secret.display())).await?;
        symlink(server.config_file(), home.path().join("bonded.toml"))?;
        for (name, password, admin) in [("root", "a stone bridge in autumn", true), ("ann", "seven wet boots", false)] {
            let arguments = ["user", "add", name, "--password-stdin", "--admin"];
            server.command(&arguments[..if admin { 5 } else { 4 }], password).await?;
        }
        let host = server.url().replacen("http://", "", 1);
        let variables = vec![
            ("BONDED_DATA", server.data().display().to_string()),
            ("IMAGE", format!("{host}/prod/app")),
            ("REGISTRY", host),
            ("REPOSITORY", "prod/app".to_owned()),
        ];
        Ok(Self { server, home, variables })
    }

    fn host(&self) -> String {
        self.server.url().replacen("http://", "", 1)
    }

    fn variable(&self, name: &str) -> &str {
        self.variables.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.home.path().join(name), text)?)
    }

    /// What a page says, with the names that things have here.
    fn here(&self, text: &str) -> String {
        let policy = self.home.path().join("policy.yaml").display().to_string();
        text.replace(HOST, &self.host()).replace(POLICY, &policy)
    }

    /// Adds this to the configuration and starts the server again.
    async fn restart_with(&mut self, config: &str) -> Result<()> {
        let file: PathBuf = self.server.config_file();
        let text = std::fs::read_to_string(&file)? + "\n" + &self.here(config);
        std::fs::write(&file, text)?;
        self.server.stop().await?;
        self.server.restart().await
    }

    /// Types commands into a shell as who pushes and signs, and gives what they printed.
    async fn type_in(&self, commands: &str) -> Result<String> {
        self.type_in_as("ci", commands).await
    }

    async fn type_in_as(&self, person: &str, commands: &str) -> Result<String> {
        let (code, output, errors) = self.shell(person, commands).await?;
        ensure!(code == 0, "`{commands}` ended with {code}: {output} {errors}");
        Ok(output)
    }

    async fn ends_with(&self, person: &str, commands: &str, expected: i32) -> Result<()> {
        let (code, output, errors) = self.shell(person, commands).await?;
        ensure!(code == expected, "`{commands}` ended with {code}, not {expected}: {output} {errors}");
        Ok(())
    }

    async fn shell(&self, person: &str, commands: &str) -> Result<(i32, String, String)> {
        let home = self.home.path();
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", &self.here(commands)]).current_dir(home).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().env("HOME", home).env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display()));
        command.env("DOCKER_CONFIG", home.join(person)).env("COSIGN_PASSWORD", "");
        // Whatever would leave this machine goes nowhere.
        command.env("HTTPS_PROXY", NOWHERE).env("HTTP_PROXY", NOWHERE).env("NO_PROXY", "127.0.0.1");
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        let output = timeout(COMMAND_MAX, command.output()).await;
        let output = output.with_context(|| format!("`{commands}` does not end"))??;
        let code = output.status.code().with_context(|| format!("`{commands}` ended with {}", output.status))?;
        let [said, errors] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        Ok((code, said, errors))
    }
}

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The first block of a language below a heading.
fn block<'a>(page: &'a str, heading: &str, language: &str) -> Result<&'a str> {
    after(page, heading, language).map(|(block, _)| block)
}

/// The second one with commands.
fn second_block<'a>(page: &'a str, heading: &str) -> Result<&'a str> {
    let (_, rest) = after(page, heading, "sh")?;
    after(rest, "", "sh").map(|(block, _)| block)
}

fn after<'a>(page: &'a str, heading: &str, language: &str) -> Result<(&'a str, &'a str)> {
    let (_, below) = page.split_once(heading).with_context(|| format!("no page has {heading}"))?;
    let begin = format!("```{language}\n");
    let (_, block) = below.split_once(&begin).with_context(|| format!("{heading}: no block of {language}"))?;
    block.split_once("```").with_context(|| format!("{heading}: a block without end"))
}
