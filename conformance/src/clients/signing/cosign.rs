//! How each release of cosign is told to sign and to verify.

use std::path::Path;

use anyhow::Result;
use conformance::servers::{Rekor2, SigningLab};
use serde_json::{Value, json};

use super::matrix::{Case, Format, Signer, Witness};
use crate::clients::Tool;
use crate::runner::Context;

/// Who vouches for the identity of signers.
pub(super) const ISSUER: &str = "https://issuer.lab.example";
/// The identity that signs.
pub(super) const IDENTITY: &str = "alice@lab.example";
/// One of the same issuer that never signs.
pub(super) const STRANGER: &str = "mallory@lab.example";

/// A release of cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// The last of version 2, which writes `.sig` tags unless it is told otherwise.
    V2,
    /// The newest, which writes bundles unless it is told otherwise.
    V3,
}

impl Release {
    fn program(self) -> &'static str {
        match self {
            Self::V2 => "cosign-v2",
            Self::V3 => "cosign",
        }
    }
}

/// cosign with a key pair and another one that never signs, and all that it has to know of the laboratory.
pub(super) struct Cosign<'a> {
    pub(super) release: Release,
    tool: Tool,
    pub(super) lab: &'a SigningLab,
    rekor2: Option<&'a Rekor2>,
}

impl<'a> Cosign<'a> {
    pub(super) async fn prepare(
        context: &Context,
        release: Release,
        lab: &'a SigningLab,
        rekor2: Option<&'a Rekor2>,
    ) -> Result<Self> {
        let mut tool = Tool::find(context, release.program())?;
        tool.environment.push(("COSIGN_PASSWORD", String::new()));
        for prefix in [SIGNER_PREFIX, STRANGER_PREFIX] {
            tool.run(&["generate-key-pair", "--output-key-prefix", prefix]).await?;
        }
        let cosign = Self { release, tool, lab, rekor2 };
        std::fs::write(cosign.tool.path(ROOT), cosign.trusted_root().to_string())?;
        Ok(cosign)
    }

    /// cosign of somebody else, who has the public keys of this one.
    pub(super) fn verifier(&self, context: &Context) -> Result<Self> {
        let mut tool = Tool::find(context, self.release.program())?;
        tool.environment.push(("COSIGN_PASSWORD", String::new()));
        for name in [PUBLIC_KEY, STRANGER_KEY, ROOT] {
            std::fs::copy(self.tool.path(name), tool.path(name))?;
        }
        Ok(Self { release: self.release, tool, lab: self.lab, rekor2: self.rekor2 })
    }

    /// Takes credentials for a registry and keeps them.
    pub(super) async fn log_in(&self, host: &str, user: &str, password: &str) -> Result<()> {
        self.tool.run(&["login", "--username", user, "--password", password, host]).await.map(drop)
    }

    /// All whose word counts in the laboratory.
    pub(super) fn trusted_root(&self) -> Value {
        self.lab.trusted_root(self.rekor2.map(Rekor2::log))
    }

    /// The key that signs, as PEM.
    pub(super) fn key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.tool.path(PUBLIC_KEY))?)
    }

    /// The one that never does.
    pub(super) fn stranger_key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.tool.path(STRANGER_KEY))?)
    }

    /// How `bonded verify` is told to look for the signer by itself, or for somebody who never signs.
    pub(super) fn options_of(&self, signer: Signer, is_stranger: bool) -> Vec<String> {
        let (key, identity) = if is_stranger { (STRANGER_KEY, STRANGER) } else { (PUBLIC_KEY, IDENTITY) };
        let (key, root) = (self.tool.path(key), self.tool.path(ROOT));
        let options = match signer {
            Signer::Key => vec!["--key", &key],
            Signer::Keyless => vec!["--identity", identity, "--issuer", ISSUER, "--trusted-root", &root],
        };
        options.into_iter().map(str::to_owned).collect()
    }

    /// Writes a file into the home of the program.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.tool.path(name), text)?)
    }

    /// Names the services of a case in the file [`SERVICES`].
    pub(super) fn write_services(&self, case: Case) -> Result<()> {
        self.write(SERVICES, &self.services(case).to_string())
    }

    /// Signs an image, `host/repository@digest`.
    pub(super) async fn sign(&self, case: Case, image: &str) -> Result<()> {
        self.make(case, &["sign"], image).await
    }

    /// Attests something of an image: a predicate of a kind, which is in a file.
    pub(super) async fn attest(&self, case: Case, kind: &str, file: &str, image: &str) -> Result<()> {
        self.make(case, &["attest", "--type", kind, "--predicate", file], image).await
    }

    async fn make(&self, case: Case, command: &[&str], image: &str) -> Result<()> {
        self.write_services(case)?;
        let token = SigningLab::token(ISSUER, IDENTITY);
        let mut arguments = [command, &["--yes", "--allow-http-registry"]].concat();
        match case.signer {
            Signer::Key => arguments.extend(["--key", PRIVATE_KEY]),
            Signer::Keyless => arguments.extend(["--identity-token", &token]),
        }
        if case.format == Format::Referrer {
            arguments.push("--registry-referrers-mode=oci-1-1");
        }
        let options = if case.format == Format::Bundle { Vec::new() } else { self.services_as_options(case) };
        match (case.format, self.release) {
            (Format::Bundle, Release::V3) => arguments.extend(["--signing-config", SERVICES, "--trusted-root", ROOT]),
            (Format::Bundle, Release::V2) => {
                arguments.extend(["--new-bundle-format", "--signing-config", SERVICES, "--trusted-root", ROOT]);
            }
            (_, Release::V3) => {
                arguments.extend(["--new-bundle-format=false", "--use-signing-config=false", "--trusted-root", ROOT]);
                arguments.extend(options.iter().map(String::as_str));
            }
            (_, Release::V2) => arguments.extend(options.iter().map(String::as_str)),
        }
        arguments.push(image);
        self.run(case.format, &arguments).await
    }

    /// Verifies that the signer signed an image.
    pub(super) async fn verify(&self, case: Case, image: &str) -> Result<()> {
        self.verify_by(case, &["verify"], [PUBLIC_KEY, IDENTITY], image).await
    }

    /// Verifies that the signer attested something of a kind, which satisfies the CUE policy in a file.
    pub(super) async fn verify_attestation(&self, case: Case, kind: &str, file: &str, image: &str) -> Result<()> {
        let command = ["verify-attestation", "--type", kind, "--policy", file];
        self.verify_by(case, &command, [PUBLIC_KEY, IDENTITY], image).await
    }

    /// Verifies that somebody did who never signs.
    pub(super) async fn verify_stranger(&self, case: Case, image: &str) -> Result<()> {
        self.verify_by(case, &["verify"], [STRANGER_KEY, STRANGER], image).await
    }

    async fn verify_by(&self, case: Case, command: &[&str], [key, identity]: [&str; 2], image: &str) -> Result<()> {
        let lab = self.lab;
        let (root, intermediates) = (text(&lab.signer_root()), text(&lab.signer_intermediate()));
        let times = text(&lab.timestamp_chain());
        let mut arguments = [command, &["--allow-http-registry"]].concat();
        match case.signer {
            Signer::Key => arguments.extend(["--key", key]),
            Signer::Keyless => {
                arguments.extend(["--certificate-identity", identity, "--certificate-oidc-issuer", ISSUER]);
            }
        }
        if !case.is_logged() {
            arguments.push("--insecure-ignore-tlog");
        }
        if case.format == Format::Bundle {
            arguments.extend(["--trusted-root", ROOT]);
            arguments.extend((self.release == Release::V2).then_some("--new-bundle-format"));
        } else {
            arguments.push("--rekor-url=");
            if case.signer == Signer::Keyless {
                arguments.extend(["--ca-roots", &root, "--ca-intermediates", &intermediates]);
            }
            if case.has_timestamps() {
                arguments.extend(["--timestamp-certificate-chain", &times]);
            }
        }
        arguments.extend((case.format == Format::Referrer).then_some("--experimental-oci11"));
        arguments.push(image);
        self.run(case.format, &arguments).await
    }

    /// Runs a command as it is run for signatures of a format.
    pub(super) async fn run(&self, format: Format, arguments: &[&str]) -> Result<()> {
        let lab = self.lab;
        let paths = [lab.signer_chain(), lab.signature_log_key(), lab.certificate_log_key()];
        let [chain, log, certificates] = paths.map(|path| text(&path));
        let environment = [
            ("SIGSTORE_ROOT_FILE", chain.as_str()),
            ("SIGSTORE_REKOR_PUBLIC_KEY", &log),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", &certificates),
            ("COSIGN_EXPERIMENTAL", "1"),
        ];
        let environment = match format {
            Format::Bundle => &[],
            Format::Tag => &environment[..3],
            Format::Referrer => &environment[..],
        };
        self.tool.run_in(environment, arguments).await.map(drop)
    }

    /// The services of a case as old formats take them.
    fn services_as_options(&self, case: Case) -> Vec<String> {
        let url = self.lab.url();
        let mut options = Vec::new();
        if case.signer == Signer::Keyless {
            options.push(format!("--fulcio-url={url}"));
        }
        options.push(match case.witness {
            Witness::Nobody | Witness::Timestamps => "--tlog-upload=false".to_owned(),
            Witness::Rekor1 => format!("--rekor-url={url}"),
            Witness::Rekor2 => format!("--rekor-url={}", self.rekor2_url()),
        });
        if case.has_timestamps() {
            options.push(format!("--timestamp-server-url={}", self.lab.timestamp_url()));
        }
        options
    }

    /// The same as a sigstore `SigningConfig`.
    fn services(&self, case: Case) -> Value {
        let service = |url: String, version: u8| {
            let window = json!({ "start": "2020-01-01T00:00:00Z" });
            json!([{ "url": url, "majorApiVersion": version, "validFor": window, "operator": "lab" }])
        };
        let (url, any) = (self.lab.url(), json!({ "selector": "ANY" }));
        let mut services = json!({ "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json" });
        if case.signer == Signer::Keyless {
            services["caUrls"] = service(url.clone(), 1);
            services["oidcUrls"] = service(format!("{url}/oidc"), 1);
        }
        if case.has_timestamps() {
            services["tsaUrls"] = service(self.lab.timestamp_url(), 1);
            services["tsaConfig"] = any.clone();
        }
        if case.is_logged() {
            let is_second = case.witness == Witness::Rekor2;
            services["rekorTlogUrls"] = if is_second { service(self.rekor2_url(), 2) } else { service(url, 1) };
            services["rekorTlogConfig"] = any;
        }
        services
    }

    fn rekor2_url(&self) -> String {
        self.rekor2.map(Rekor2::url).unwrap_or_default()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What `generate-key-pair` calls its two files.
const SIGNER_PREFIX: &str = "signer";
const PRIVATE_KEY: &str = "signer.key";
const PUBLIC_KEY: &str = "signer.pub";
const STRANGER_PREFIX: &str = "stranger";
const STRANGER_KEY: &str = "stranger.pub";
/// The trusted root of the laboratory.
pub(super) const ROOT: &str = "trusted-root.json";
/// The services of the case that signs.
pub(super) const SERVICES: &str = "signing-config.json";
