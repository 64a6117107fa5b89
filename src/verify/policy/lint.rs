//! What a document says that its writer probably did not mean, and what can never be satisfied.

use std::collections::BTreeSet;

use super::Policy;
use super::authority::{Authority, Trusted};
use super::document::COSIGN_SIGN;
use super::finding::{Finding, Severity};
use super::reading::Reading;
use super::rules::SignatureRule;
use super::scope::{Gate, Mode, Readers};
use super::shape::Node;
use super::text::{element, member};
use crate::oci::name::RepoName;

/// Looks at everything that could be read.
pub(super) fn document(root: &Node<'_>, policies: &[Policy], cx: &mut Reading<'_>) {
    for name in cx.unused_roots() {
        cx.findings.warning(format!("trustRoots.{name}"), "no authority uses this root; leave it out");
    }
    // Places are those of the document; a policy that could not be read has none here.
    for node in root.items_of("policies") {
        let name = node.text_of("name");
        if let Some(policy) = policies.iter().find(|policy| Some(policy.name.as_str()) == name) {
            lint_policy(&node, policy, cx);
        }
        for authority in node.items_of("authorities") {
            lint_identities(&authority, cx);
        }
    }
}

/// A policy that guards nothing where everybody may push.
pub(super) fn void_without_accounts(policy: &Policy) -> Option<Finding> {
    let everybody = match &policy.readers {
        Readers::Nobody => false,
        Readers::Pushers => true,
        Readers::Listed { roles, .. } => !roles.is_empty(),
    };
    let void = policy.mode == Mode::Enforce && everybody;
    void.then(|| Finding {
        severity: Severity::Error,
        place: format!("policy `{}`", policy.name),
        line: None,
        message:
            "without accounts everybody may push, so `unverifiedReaders: pushers`, or a role, lets everybody read what \
                  is not signed; say `nobody`, or name the networks of those who sign"
                .to_owned(),
    })
}

fn lint_policy(node: &Node<'_>, policy: &Policy, cx: &mut Reading<'_>) {
    lint_scope(node, policy, cx);
    if let Some(rule) = &policy.signature {
        lint_signature(&member(&node.place, "signature"), policy, rule, cx);
    } else {
        let message = "without `signature` an image needs no signature, only the attestations; add `signature: {threshold: 1}` \
                       if it should";
        cx.findings.warning(&node.place, message);
    }
    let used: BTreeSet<usize> = policy
        .signature
        .iter()
        .flat_map(|rule| &rule.of)
        .chain(policy.attestations.iter().flat_map(|rule| &rule.of))
        .copied()
        .collect();
    for (at, authority) in policy.authorities.iter().enumerate() {
        let place = element(&member(&node.place, "authorities"), at);
        if !used.contains(&at) {
            let message = format!("no `of` names `{}`; name it, or leave it out", authority.name);
            cx.findings.warning(&place, message);
        }
        if let Trusted::Key(key) = &authority.trusted
            && policy.revoked.has_key(&key.fingerprint)
        {
            cx.findings.warning(&place, "the key of this authority is revoked below, so that it never counts");
        }
    }
}

fn lint_scope(node: &Node<'_>, policy: &Policy, cx: &mut Reading<'_>) {
    let written = &policy.scope.written;
    let place = member(&node.place, "match");
    let nothing_left = |glob: &String| {
        // What a pattern matches includes its own text with the stars filled in.
        let sample = glob.replace("**", "x/x").replace('*', "x");
        written.exclude.iter().any(|exclude| exclude == glob || exclude == "**")
            || (!glob.contains('*') && sample.parse::<RepoName>().is_ok_and(|name| !policy.scope.covers(&name)))
    };
    if written.repositories.iter().all(nothing_left) {
        cx.findings
            .error(&place, "`exclude` takes out all that `repositories` names, so that this policy is about nothing");
    }
    for (at, glob) in written.repositories.iter().enumerate() {
        let Some(parent) = glob.strip_suffix("/**").filter(|parent| !parent.contains('*')) else { continue };
        let unnamed = |name: RepoName| !policy.scope.covers(&name) && !policy.scope.excludes(&name);
        if parent.parse().is_ok_and(unnamed) {
            let message = format!(
                "`{glob}` is not about the repository `{parent}` itself, which nothing guards then; name `{parent}` too, or in \
                 `exclude` if that is meant"
            );
            cx.findings.warning(element(&member(&place, "repositories"), at), message);
        }
    }
    if policy.mode == Mode::Enforce && policy.gates == [Gate::Push] {
        let message = "`push` judges signatures and refuses nothing; add `pull` or `tag` to refuse what is not signed";
        cx.findings.warning(member(&node.place, "on"), message);
    }
    let all_tags = written.tags.iter().any(|glob| glob == "*" || glob == "**");
    if !all_tags && !policy.gates.contains(&Gate::Tag) {
        let message = "`tags` says what `on: tag` guards, and `on` has no `tag`; reads are judged by digest, whatever tag leads there";
        cx.findings.warning(member(&place, "tags"), message);
    }
}

fn lint_signature(place: &str, policy: &Policy, rule: &SignatureRule, cx: &mut Reading<'_>) {
    let of: Vec<&Authority> = rule.of.iter().filter_map(|at| policy.authorities.get(*at)).collect();
    let mut keys = BTreeSet::new();
    for authority in &of {
        if let Trusted::Key(key) = &authority.trusted
            && !keys.insert(&key.fingerprint)
        {
            let message =
                format!("`{}` has the key of another authority; both together count as one signer", authority.name);
            cx.findings.warning(place, message);
        }
    }
    let signers = of.iter().map(|authority| authority.signers()).collect::<Option<Vec<_>>>();
    let threshold = member(place, "threshold");
    match signers.map(|signers| signers.into_iter().flatten().collect::<BTreeSet<_>>().len()) {
        Some(most) if most < rule.threshold => {
            let message = format!(
                "{} different signers are asked for and there can be {most} at most; lower it, or add authorities",
                rule.threshold
            );
            cx.findings.error(threshold, message);
        }
        None if rule.threshold > 1 => {
            let message = "an expression matches several identities, and one workflow or person may have several of them (one for \
                           each branch, tag or address), each of which counts; name identities exactly where different signers \
                           are meant";
            cx.findings.warning(threshold, message);
        }
        _ => {}
    }
    if rule.own_reference && rule.bundle {
        let message = "bundles have no name in them, so with `repository` they never count; say `formats: [legacy]`, or bind \
                       them with `annotations` or `claims`";
        cx.findings.warning(member(place, "dockerReference"), message);
    }
    for (at, kind) in rule.predicate_types.iter().enumerate().filter(|(_, kind)| *kind != COSIGN_SIGN) {
        let message = format!("whoever attests {kind} to an image signs it with that; is that meant?");
        cx.findings.warning(element(&member(place, "predicateTypes"), at), message);
    }
}

fn lint_identities(authority: &Node<'_>, cx: &mut Reading<'_>) {
    for identity in authority.field("keyless").map(|keyless| keyless.items_of("identities")).unwrap_or_default() {
        for name in ["issuerRegExp", "subjectRegExp"] {
            let Some(at) = identity.field(name) else { continue };
            let text = at.text().unwrap_or_default();
            if matches!(text, ".*" | ".+" | "^.*$" | "^.+$" | "(?s).*") {
                cx.findings.warning(&at.place, "this matches everybody; say who");
            } else if has_bare_dot(text) {
                let message = "a dot stands for any character, so that `github.com` matches `githubXcom`; write `\\.`";
                cx.findings.warning(&at.place, message);
            } else if text.starts_with(".*") || text.starts_with("^.*") || text.starts_with(".+") {
                cx.findings.warning(&at.place, "this begins with anything, another host too; write out how it begins");
            }
        }
        if let Some(at) = identity.field("issuer")
            && at.text().is_some_and(|text| text.ends_with('/') || text.starts_with("http://"))
        {
            cx.findings.warning(
                &at.place,
                "issuers begin with https:// and most have no slash at the end; compare it exactly",
            );
        }
    }
}

/// Whether a dot that is neither escaped nor repeated nor in a class stands between parts of a name.
fn has_bare_dot(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => class = true,
            ']' => class = false,
            '.' if !class && !matches!(chars.peek(), Some('*' | '+' | '?' | '{')) => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_dots_are_found() {
        for (pattern, expected) in [
            (r"https://github.com/acme", true),
            (r"https://github\.com/acme/.*", false),
            (r"[.]com", false),
            (r"a.{3}", false),
            (r"a.?b", false),
            (r"a\\.b", true),
        ] {
            assert_eq!(has_bare_dot(pattern), expected, "{pattern}");
        }
    }
}
