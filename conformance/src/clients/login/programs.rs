//! How each client logs in, pushes and pulls.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Client;
use crate::clients::{Tool, image, oras, podman, write_layout};
use crate::content::tar;
use crate::runner::Context;

/// docker, with a daemon that runs.
pub(super) struct Docker<'a>(&'a Tool);

impl<'a> Docker<'a> {
    pub(super) fn prepare(context: &Context, tool: &'a Tool) -> Result<Self> {
        std::fs::write(tool.path("image.tar"), tar("hello.txt", context.random.word().as_bytes()))?;
        Ok(Self(tool))
    }
}

impl Client for Docker<'_> {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.0.run(&["login", "--username", user, "--password", password, host]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        let name = format!("{host}/{namespace}/app:v1");
        self.0.run(&["import", "image.tar", &name]).await?;
        self.0.run(&["push", &name]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        let name = format!("{host}/{namespace}/app:v1");
        self.0.run(&["image", "prune", "--all", "--force"]).await?;
        self.0.run(&["pull", &name]).await.map(drop)
    }
}

/// podman, with storage of its own.
pub(super) struct Podman(Tool);

impl Podman {
    pub(super) fn prepare(context: &Context) -> Result<Self> {
        let mut tool = podman::prepare(context)?;
        tool.environment.push(("REGISTRY_AUTH_FILE", tool.path("auth.json")));
        std::fs::write(tool.path("image.tar"), tar("hello.txt", context.random.word().as_bytes()))?;
        Ok(Self(tool))
    }
}

impl Client for Podman {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.0.run(&["login", "--tls-verify=false", "--username", user, "--password", password, host]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        let name = format!("{host}/{namespace}/app:v1");
        self.0.run(&["import", "image.tar", &name]).await?;
        self.0.run(&["push", "--tls-verify=false", &name]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["rmi", "--all", "--force"]).await?;
        let name = format!("{host}/{namespace}/app:v1");
        self.0.run(&["pull", "--tls-verify=false", &name]).await.map(drop)
    }
}

/// skopeo, which copies from a layout.
pub(super) struct Skopeo(Tool);

impl Skopeo {
    pub(super) fn prepare(context: &Context) -> Result<Self> {
        let mut tool = Tool::find(context, "skopeo")?.with(&["--insecure-policy"]);
        tool.environment.push(("REGISTRY_AUTH_FILE", tool.path("auth.json")));
        write_layout(Path::new(&tool.path("layout")), &image(context), "v1")?;
        Ok(Self(tool))
    }
}

impl Client for Skopeo {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.0.run(&["login", "--tls-verify=false", "--username", user, "--password", password, host]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        let target = format!("docker://{host}/{namespace}/app:v1");
        self.0.run(&["copy", "--dest-tls-verify=false", "oci:layout:v1", &target]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        let source = format!("docker://{host}/{namespace}/app:v1");
        self.0.run(&["copy", "--src-tls-verify=false", &source, "dir:pulled"]).await.map(drop)
    }
}

/// crane, which keeps what it is told at a login and uses it later.
pub(super) struct Crane(Tool);

impl Crane {
    pub(super) fn prepare(context: &Context) -> Result<Self> {
        let tool = Tool::find(context, "crane")?;
        write_layout(Path::new(&tool.path("layout")), &image(context), "v1")?;
        Ok(Self(tool))
    }
}

impl Client for Crane {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.0.run(&["auth", "login", host, "--username", user, "--password", password]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["auth", "logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["push", "layout", &format!("{host}/{namespace}/app:v1")]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["validate", "--remote", &format!("{host}/{namespace}/app:v1")]).await.map(drop)
    }
}

/// regctl.
pub(super) struct Regctl(Tool);

impl Regctl {
    pub(super) fn prepare(context: &Context) -> Result<Self> {
        let mut tool = Tool::find(context, "regctl")?;
        tool.environment.push(("REGCTL_CONFIG", tool.path("regctl.json")));
        write_layout(Path::new(&tool.path("layout")), &image(context), "v1")?;
        Ok(Self(tool))
    }

    async fn speak_plainly(&self, host: &str) -> Result<()> {
        self.0.run(&["registry", "set", host, "--tls", "disabled", "--skip-check"]).await.map(drop)
    }
}

impl Client for Regctl {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.speak_plainly(host).await?;
        self.0.run(&["registry", "login", host, "--user", user, "--pass", password]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["registry", "logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        self.speak_plainly(host).await?;
        let target = format!("{host}/{namespace}/app:v1");
        self.0.run(&["image", "copy", "ocidir://layout:v1", &target]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        self.speak_plainly(host).await?;
        let source = format!("{host}/{namespace}/app:v1");
        self.0.run(&["image", "export", &source, "pulled.tar"]).await.map(drop)
    }
}

/// The library of oras, with the store of credentials and the login that oras has.
pub(super) struct OrasGo(Tool);

impl OrasGo {
    pub(super) async fn prepare(context: &Context) -> Result<Self> {
        oras::build(context).await.map(Self)
    }
}

impl Client for OrasGo {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.0.run(&["login", "auth.json", host, user, password]).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["logout", "auth.json", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["push", "auth.json", host, &format!("{namespace}/app")]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["pull", "auth.json", host, &format!("{namespace}/app")]).await.map(drop)
    }
}

/// helm, with a chart in the place of an image.
pub(super) struct Helm(Tool);

const CHART: &str = "apiVersion: v2\nname: app\nversion: 0.1.0\n";

impl Helm {
    pub(super) async fn prepare(context: &Context) -> Result<Self> {
        let tool = Tool::find(context, "helm")?;
        std::fs::create_dir(tool.path("app"))?;
        std::fs::write(tool.path("app/Chart.yaml"), CHART)?;
        tool.run(&["package", "app"]).await?;
        Ok(Self(tool))
    }
}

impl Client for Helm {
    async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        let login = ["registry", "login", "--plain-http", host, "--username", user, "--password", password];
        self.0.run(&login).await.map(drop)
    }

    async fn log_out(&self, host: &str) -> Result<()> {
        self.0.run(&["registry", "logout", host]).await.map(drop)
    }

    async fn push(&self, host: &str, namespace: &str) -> Result<()> {
        self.0.run(&["push", "--plain-http", "app-0.1.0.tgz", &format!("oci://{host}/{namespace}")]).await.map(drop)
    }

    async fn pull(&self, host: &str, namespace: &str) -> Result<()> {
        let folder = self.0.path("pulled");
        std::fs::create_dir_all(&folder)?;
        let chart = format!("oci://{host}/{namespace}/app");
        self.0.run(&["pull", "--plain-http", &chart, "--version", "0.1.0", "--destination", &folder]).await?;
        let pulled = std::fs::read(Path::new(&folder).join("app-0.1.0.tgz"))?;
        std::fs::remove_dir_all(&folder)?;
        ensure!(pulled == std::fs::read(self.0.path("app-0.1.0.tgz"))?, "helm pulled another chart");
        Ok(())
    }
}
