//! Every format, signer and witness that cosign can put together, and what it says itself of those that it cannot.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use conformance::servers::{Rekor2, SigningLab};
use serde_json::{Value, json};

use super::bonded::{BY_OTHERS, PASSES, UNSIGNED};
use super::cosign::{Cosign, IDENTITY, ISSUER, Release, STRANGER};
use super::registry::{Image, Registry};
use crate::runner::Context;

/// Where a signature is put, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A sigstore bundle, as a referrer.
    Bundle,
    /// A simple signing payload under the tag `sha256-<digest>.sig`.
    Tag,
    /// The same as a referrer.
    Referrer,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// Who has a key.
    Key,
    /// Who has an identity token.
    Keyless,
}

/// Who says that it was signed, or when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// Nobody but the signer.
    Nobody,
    /// A timestamp authority.
    Timestamps,
    /// A log that says when.
    Rekor1,
    /// A log that does not, so a timestamp authority with it.
    Rekor2,
}

impl Witness {
    /// Those that the laboratory itself can be.
    pub(super) const WITHOUT_REKOR2: [Self; 3] = [Self::Nobody, Self::Timestamps, Self::Rekor1];
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) format: Format,
    pub(super) signer: Signer,
    pub(super) witness: Witness,
}

impl Case {
    pub(super) fn has_timestamps(self) -> bool {
        matches!(self.witness, Witness::Timestamps | Witness::Rekor2)
    }

    pub(super) fn is_logged(self) -> bool {
        matches!(self.witness, Witness::Rekor1 | Witness::Rekor2)
    }

    /// Repositories whose images everybody signs in this way.
    fn namespace(signer: Signer, witness: Witness) -> String {
        format!("{signer:?}-{witness:?}").to_lowercase()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}, {:?}", self.format, self.signer, self.witness)
    }
}

/// What comes of a case.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// cosign signs and verifies, and the registry lets it pass.
    Good,
    /// cosign signs and verifies, and the registry says this.
    OnlyCosignTakes(&'static str),
    /// cosign says this instead of signing.
    Impossible(&'static str),
}

fn expected(release: Release, case: Case) -> Expected {
    match (release, case.format, case.signer, case.witness) {
        // A certificate is good for some minutes, and nobody says that it was used in these: cosign looks at its own
        // clock when it verifies, and the image is no longer verified soon after.
        (_, _, Signer::Keyless, Witness::Nobody) => Expected::OnlyCosignTakes("no_timestamp"),
        // Version 2 sends the log an entry of a kind that it has taken in tests only.
        (Release::V2, Format::Bundle, _, Witness::Rekor2) => Expected::Impossible("invalid type, must be hashedrekord"),
        // For the old formats a log is told by its address alone, and then it is asked as Rekor 1 is.
        (_, Format::Tag | Format::Referrer, _, Witness::Rekor2) => {
            Expected::Impossible("[POST /api/v1/log/entries][404] createLogEntry")
        }
        _ => Expected::Good,
    }
}

const FORMATS: [Format; 3] = [Format::Bundle, Format::Tag, Format::Referrer];
const SIGNERS: [Signer; 2] = [Signer::Key, Signer::Keyless];

/// Tries every combination with these witnesses; says of all that are wrong what is.
pub(super) async fn run(context: &Context, releases: &[Release], witnesses: &[Witness]) -> Result<()> {
    let lab = SigningLab::start()?;
    let rekor2 = witnesses.contains(&Witness::Rekor2).then(Rekor2::start).transpose()?;
    let (mut good, mut differing, mut impossible, mut wrong) = (0, 0, 0, Vec::new());
    for release in releases {
        let cosign = Cosign::prepare(context, *release, &lab, rekor2.as_ref()).await?;
        let policies = policies(&cosign, witnesses)?;
        let registry = Registry::start(context, &policies, &cosign.trusted_root()).await?;
        for (format, signer) in FORMATS.iter().flat_map(|format| SIGNERS.map(|signer| (*format, signer))) {
            for witness in witnesses {
                let case = Case { format, signer, witness: *witness };
                let expected = expected(*release, case);
                match expected {
                    Expected::Good => good += 1,
                    Expected::OnlyCosignTakes(_) => differing += 1,
                    Expected::Impossible(_) => impossible += 1,
                }
                if let Err(error) = check(context, &cosign, &registry, case, expected).await {
                    wrong.push(format!("{release:?}: {case}: {error:#}"));
                }
            }
        }
        registry.stop().await?;
    }
    context.note(format!("{good} agree, {differing} named differences, {impossible} impossible"));
    ensure!(wrong.is_empty(), "{} combinations:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

async fn check(
    context: &Context,
    cosign: &Cosign<'_>,
    registry: &Registry<'_>,
    case: Case,
    expected: Expected,
) -> Result<()> {
    let namespace = Case::namespace(case.signer, case.witness);
    let image = registry.push(context, &format!("{namespace}/signed/{}", context.random.word())).await?;
    let signed = cosign.sign(case, &image.reference).await;
    // Whoever names a key alone asks for no witness; whoever names an identity asks for a log, which only a policy waives.
    let lacks_log = case.signer == Signer::Keyless && !case.is_logged();
    let by_options = async |image: &Image, is_stranger: bool, code: i32| {
        let options = cosign.options_of(case.signer, is_stranger);
        let code = if lacks_log && code != UNSIGNED { BY_OTHERS } else { code };
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        registry.verifier.ends_with(&image.reference, &options, code).await
    };
    if let Expected::Impossible(message) = expected {
        let Err(error) = signed else { bail!("cosign signs after all") };
        ensure!(
            format!("{error:#}").contains(message),
            "cosign does not sign, as expected, but for another reason: {error:#}"
        );
        registry.expect(&image, "unsigned", None).await?;
        return by_options(&image, false, UNSIGNED).await;
    }
    signed.context("cosign does not sign")?;
    cosign.verify(case, &image.reference).await.context("cosign does not verify")?;
    match expected {
        Expected::OnlyCosignTakes(reason) => registry.expect(&image, "fail", Some(reason)).await?,
        _ => registry.expect(&image, "pass", None).await?,
    }
    by_options(&image, false, PASSES).await?;
    let image = registry.push(context, &format!("{namespace}/by-others/{}", context.random.word())).await?;
    cosign.sign(case, &image.reference).await?;
    ensure!(cosign.verify_stranger(case, &image.reference).await.is_err(), "cosign takes it for somebody else's");
    registry.expect(&image, "fail", None).await.context("by somebody else")?;
    by_options(&image, true, BY_OTHERS).await.context("by somebody else")
}

/// For each signer and witness a policy that asks for both, and one that asks for somebody who never signs.
fn policies(cosign: &Cosign<'_>, witnesses: &[Witness]) -> Result<Vec<Value>> {
    let mut policies = Vec::new();
    for (signer, witness) in SIGNERS.iter().flat_map(|signer| witnesses.iter().map(move |witness| (*signer, *witness)))
    {
        let namespace = Case::namespace(signer, witness);
        let case = Case { format: Format::Bundle, signer, witness };
        for (folder, key, identity) in
            [("signed", cosign.key()?, IDENTITY), ("by-others", cosign.stranger_key()?, STRANGER)]
        {
            policies.push(json!({
                "name": format!("{namespace}-{folder}"), "mode": "warn",
                "match": { "repositories": [format!("{namespace}/{folder}/**")] },
                "authorities": [authority(case, &key, identity)], "signature": { "threshold": 1 },
            }));
        }
    }
    Ok(policies)
}

fn authority(case: Case, key: &str, identity: &str) -> Value {
    let need = |is_there: bool| if is_there { "require" } else { "ignore" };
    let (tlog, timestamp) = (need(case.is_logged()), need(case.has_timestamps()));
    match case.signer {
        Signer::Key => json!({
            "name": "signer", "key": { "pem": key }, "tlog": tlog, "timestamp": timestamp, "trustRoot": "lab",
        }),
        Signer::Keyless => {
            let identity = json!({ "issuer": ISSUER, "subject": identity });
            json!({ "name": "signer", "keyless": { "trustRoot": "lab", "tlog": tlog, "identities": [identity] } })
        }
    }
}
