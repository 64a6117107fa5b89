//! `bonded verify`: whether an artifact satisfies signature policies; what its registry says, or what its signatures prove
//! here.

mod listing;
mod offline;
mod policies;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output::{Format, plain};
use super::progress::Steps;
use super::{Failure, eprint, print, runtime};
use crate::oci::digest::Digest;
use crate::verify::verdict::{Outcome, ReasonCode};
pub(super) use remote::credentials;
use remote::{Image, Remote, RemoteError};

/// Whose signature is asked for, of what.
///
/// Ends with 0 when it passes; 10: no signature; 11: there is no such artifact; 12: no signature that counts; 13: none has a
/// certificate, and only certificates count; 14: an attestation is missing or says something else; 15: revoked; 2: usage; 1:
/// anything else.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// What to verify: `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@DIGEST`.
    #[arg(value_name = "REF")]
    reference: String,
    /// Asks the registry; so it is without any of the four options below.
    #[arg(long, conflicts_with_all = ["policy", "key", "identity", "trusted_root"])]
    server: bool,
    /// A policy document, YAML or JSON, by which the signatures are judged here. With a key or an identity both must hold.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A public key (PEM) that has signed. With a trusted root the signature has to be in a log.
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    key: Option<PathBuf>,
    /// Who has signed, as the certificate names him.
    #[arg(
        long,
        value_name = "NAME",
        visible_alias = "certificate-identity",
        requires = "issuer",
        requires = "trusted_root"
    )]
    identity: Option<String>,
    /// Who vouches for him.
    #[arg(long, value_name = "URL", visible_alias = "certificate-oidc-issuer", requires = "identity")]
    issuer: Option<String>,
    /// Authorities and logs to be trusted (a Sigstore trusted root, JSON), in place of every file that a policy document names
    /// for that.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Fails where a policy only warns, too.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    access: AccessArgs,
    /// `text` for people, `json` for one object.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// How to come to the registry.
#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    /// Account; its password or token comes from standard input or the variable `BONDED_TOKEN`. Without it, that of
    /// docker's configuration.
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Reads the password or token from standard input.
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// Speaks HTTP; for this machine that is the default.
    #[arg(long)]
    pub(super) plain_http: bool,
}

/// What was found out.
struct Finding {
    digest: Digest,
    /// The verdict as answers carry it, whether a gate refuses, and verdicts of policies that only warn.
    body: Value,
}

impl Finding {
    /// Whether every policy is satisfied, also those that only warn.
    fn is_clean(&self) -> bool {
        self.body["verdict"] == Outcome::Pass.as_str() && self.warning().is_none()
    }

    /// The first verdict of a policy that only warns.
    fn warning(&self) -> Option<&Value> {
        self.body["warnings"].as_array().and_then(|warnings| warnings.first())
    }

    /// The same where it is given all the same.
    fn only_warns(&self) -> Option<&Value> {
        self.warning().filter(|_| self.body["refused"] == json!(false))
    }

    /// The exit code; a strict one takes a policy that warns for one that enforces.
    fn exit_code(&self, strict: bool) -> u8 {
        match self.only_warns() {
            Some(warning) if strict => exit_code(warning),
            Some(_) => 0,
            None => exit_code(&self.body),
        }
    }
}

/// Does it.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let image = Image::parse(&args.reference).map_err(Failure::usage)?;
    let remote = Remote::new(&image, &args.access)?;
    let here = args.policy.is_some() || args.key.is_some() || args.identity.is_some();
    if args.trusted_root.is_some() && !here {
        return Err(Failure::usage("--trusted-root goes with --policy, --key or --identity"));
    }
    let steps = Steps::new();
    let found = runtime()?.block_on(async {
        if here { offline::verify(&remote, &image, args, &steps).await } else { asked(&remote, &image, &steps).await }
    });
    // What it was at must be off the terminal before anything else is printed.
    drop(steps);
    let finding = match found {
        Ok(finding) => finding,
        Err(RemoteError::Unknown(message)) => return Ok(refuse(args, 11, &message)),
        Err(RemoteError::Usage(failure)) => return Err(failure),
        Err(RemoteError::Refused(_, message) | RemoteError::Failed(message)) => return Ok(refuse(args, 1, &message)),
    };
    let code = finding.exit_code(args.strict);
    args.output.line(|| text(&args.reference, &finding, code), || finding.body.clone());
    Ok(ExitCode::from(code))
}

/// What the registry says.
async fn asked(remote: &Remote, image: &Image, steps: &Steps) -> Result<Finding, RemoteError> {
    steps.next(format!("asking {} for its verdict", image.host));
    // A registry judges by its digest what is not there too, since its signatures may come first.
    offline::head(remote, image).await?;
    let path = format!("/v2/{}/_trust/verify/verdict?ref={}", image.repository, image.reference);
    let silent = || RemoteError::Failed("the registry does not tell verdicts; give --policy or --key".to_owned());
    let answer = remote.get(&path, "application/json").await.map_err(|error| match error {
        RemoteError::Unknown(_) => silent(),
        error => error,
    })?;
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| silent())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let digest =
        text(&body["digest"]).parse().map_err(|_| RemoteError::Failed("the answer has no digest".to_owned()))?;
    Ok(Finding { digest, body })
}

/// What a verdict is as an exit code.
fn exit_code(verdict: &Value) -> u8 {
    let outcome = verdict["verdict"].as_str().unwrap_or_default();
    if outcome == Outcome::Pass.as_str() {
        return 0;
    }
    if outcome == Outcome::Unsigned.as_str() {
        return 10;
    }
    if outcome != Outcome::Fail.as_str() {
        return 1;
    }
    let code = verdict["reasons"][0]["code"].as_str().unwrap_or_default();
    match ReasonCode::ALL.into_iter().find(|known| known.as_str() == code) {
        Some(ReasonCode::Revoked) => 15,
        Some(ReasonCode::AttestationMissing | ReasonCode::AttestationCondition) => 14,
        Some(ReasonCode::NoTrustedSigner) if verdict["lacksCertificate"] == json!(true) => 13,
        // There was more than is looked at; or it is a newer registry, which knows more reasons.
        Some(ReasonCode::LimitExceeded) | None => 1,
        Some(_) => 12,
    }
}

fn text(reference: &str, finding: &Finding, code: u8) -> String {
    let outcome = finding.body["verdict"].as_str().unwrap_or_default();
    let mut lines = vec![match (code, outcome) {
        _ if finding.only_warns().is_some() => {
            format!("{reference}: a policy that only warns is not satisfied, {}", finding.digest)
        }
        (0, "pass") => format!("{reference}: verified, {}", finding.digest),
        (_, "exempt") => format!(
            "{reference}: nothing was verified, as it carries signatures itself or is of a type that policies leave out, {}",
            finding.digest
        ),
        (_, "off") => format!("{reference}: no policy of the registry applies, so nothing was verified"),
        (_, outcome) => format!("{reference}: {}, {}", plain(outcome), finding.digest),
    }];
    for evidence in finding.body["evidence"].as_array().into_iter().flatten() {
        lines.push(format!("  signed by {} ({})", shown(&evidence["signer"]), shown(&evidence["authority"])));
    }
    let verdict = finding.only_warns().unwrap_or(&finding.body);
    for reason in verdict["reasons"].as_array().into_iter().flatten() {
        lines.push(format!("  {}: {}", shown(&reason["code"]), shown(&reason["message"])));
    }
    if let Some(help) = finding.body["help"].as_str() {
        lines.push(format!("  to sign it: {}", plain(help)));
    }
    lines.join("\n")
}

/// A text of others for a terminal.
fn shown(value: &Value) -> String {
    plain(value.as_str().unwrap_or_default())
}

fn refuse(args: &VerifyArgs, code: u8, message: &str) -> ExitCode {
    match args.output {
        Format::Json => print(format_args!("{}\n", json!({"verdict": "error", "message": message, "exitCode": code}))),
        Format::Text => eprint(format_args!("{}: {}", args.reference, plain(message))),
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::Algorithm;

    fn verdict(outcome: &str, reason: &str) -> Value {
        json!({"verdict": outcome, "reasons": [{"code": reason}, {"code": "malformed"}], "refused": true})
    }

    fn code(body: Value, strict: bool) -> u8 {
        Finding { digest: Digest::of(Algorithm::Sha256, b"x"), body }.exit_code(strict)
    }

    #[test]
    fn every_outcome_has_its_exit_code() {
        for (outcome, expected) in
            [("pass", 0), ("exempt", 1), ("unsigned", 10), ("bypass", 1), ("off", 1), ("error", 1)]
        {
            assert_eq!(code(verdict(outcome, ""), false), expected, "{outcome}");
        }
        for reason in ReasonCode::ALL {
            let expected = match reason {
                ReasonCode::Revoked => 15,
                ReasonCode::AttestationMissing | ReasonCode::AttestationCondition => 14,
                ReasonCode::LimitExceeded => 1,
                _ => 12,
            };
            assert_eq!(code(verdict("fail", reason.as_str()), false), expected, "{reason}");
        }
        assert_eq!(code(verdict("fail", "something new"), false), 1);
        assert_eq!(code(json!({"verdict": "fail"}), false), 1);
        let mut keys = verdict("fail", "no_trusted_signer");
        keys["lacksCertificate"] = json!(true);
        assert_eq!(code(keys, false), 13);
    }

    #[test]
    fn strict_takes_a_warning_for_a_refusal() {
        for (reason, expected) in [("no_trusted_signer", 12), ("attestation_missing", 14), ("limit_exceeded", 1)] {
            let warning = verdict("fail", reason);
            for first in ["pass", "fail"] {
                let mut warned = verdict(first, reason);
                warned["refused"] = json!(false);
                warned["warnings"] = json!([warning]);
                assert_eq!((code(warned.clone(), false), code(warned, true)), (0, expected), "{first} {reason}");
            }
            let mut refused = verdict("unsigned", "");
            refused["warnings"] = json!([warning]);
            assert_eq!((code(refused.clone(), false), code(refused, true)), (10, 10), "{reason}");
        }
    }
}
