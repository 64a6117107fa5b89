//! What keyless signatures need of the world, on loopback: an authority that gives certificates for identity tokens
//! (Fulcio, both versions of its API) and writes them into a log, a log of signatures (Rekor 1), and timestamps (RFC 3161).
//!
//! Real clients work with it unchanged. Nothing here is checked that only honest clients of tests would be hurt by: any
//! token is believed, and no signature is looked at before it is written down.

mod authority;
mod bundle;
mod der;
mod key;
mod rekor;
mod rekor2;
mod timestamp;

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use self::authority::{Holder, SignerAuthority, TimeAuthority};
use self::rekor::Log;
use super::forward::{Body, Listening, full, serve_http};

pub use bundle::BUNDLE;
pub use key::SigningKey;
pub use rekor2::Rekor2;

/// The laboratory. Its keys are made anew each time, and what clients have to know of them stands in files.
#[derive(Debug)]
pub struct SigningLab {
    listening: Listening,
    folder: TempDir,
    services: Arc<Services>,
}

#[derive(Debug)]
struct Services {
    signers: SignerAuthority,
    log: Log,
    times: TimeAuthority,
}

impl SigningLab {
    /// Makes keys and certificates, and listens on a free loopback port.
    pub fn start() -> Result<Self> {
        let services = Services { signers: SignerAuthority::new()?, log: Log::new()?, times: TimeAuthority::new()? };
        let folder = tempfile::Builder::new().prefix("bonded-signing-").tempdir()?;
        let [intermediate, root] = services.signers.chain().map(Holder::pem);
        let keys = [services.signers.log_key(), services.log.key().to_vec()];
        let [certificate_log, signature_log] = keys.map(|key| pem("PUBLIC KEY", &key));
        let files = [
            (SIGNER_ROOT, root.clone()),
            (SIGNER_INTERMEDIATE, intermediate.clone()),
            (SIGNER_CHAIN, intermediate + &root),
            (CERTIFICATE_LOG, certificate_log),
            (SIGNATURE_LOG, signature_log),
            (TIME_CHAIN, services.times.chain().map(Holder::pem).concat()),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text)?;
        }
        let services = Arc::new(services);
        let shared = Arc::clone(&services);
        let answer = Arc::new(move |request: Request<Incoming>| {
            let services = Arc::clone(&shared);
            async move {
                Ok(match services.answer(request).await {
                    Ok(response) => response,
                    Err(error) => refusal(&error),
                })
            }
        });
        let listening = Listening::start(move |stream| serve_http(stream, Arc::clone(&answer)))?;
        Ok(Self { listening, folder, services })
    }

    /// `http://127.0.0.1:port`: of the authority and of the log. Timestamps are at `/timestamp` below it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.authority())
    }

    /// Where timestamps are to be had.
    pub fn timestamp_url(&self) -> String {
        format!("{}{TIMESTAMP}", self.url())
    }

    /// The root of signers, as PEM.
    pub fn signer_root(&self) -> PathBuf {
        self.folder.path().join(SIGNER_ROOT)
    }

    /// The intermediate that signs certificates of signers, as PEM.
    pub fn signer_intermediate(&self) -> PathBuf {
        self.folder.path().join(SIGNER_INTERMEDIATE)
    }

    /// Both, the intermediate first.
    pub fn signer_chain(&self) -> PathBuf {
        self.folder.path().join(SIGNER_CHAIN)
    }

    /// The key of the log of certificates, as PEM.
    pub fn certificate_log_key(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE_LOG)
    }

    /// The key of the log of signatures, as PEM.
    pub fn signature_log_key(&self) -> PathBuf {
        self.folder.path().join(SIGNATURE_LOG)
    }

    /// The certificate behind timestamps and its root, as PEM.
    pub fn timestamp_chain(&self) -> PathBuf {
        self.folder.path().join(TIME_CHAIN)
    }

    /// All of that as one sigstore `TrustedRoot`, with further logs of signatures ([`Rekor2::log`]).
    pub fn trusted_root(&self, logs: impl IntoIterator<Item = Value>) -> Value {
        let (url, Services { signers, log, times }) = (self.url(), &*self.services);
        let own = described_log(&url, log.key(), "PKIX_ECDSA_P256_SHA_256", &Sha256::digest(log.key()));
        let logs: Vec<Value> = iter::once(own).chain(logs).collect();
        let certificates = signers.log_key();
        let certificates =
            described_log(&url, &certificates, "PKIX_ECDSA_P256_SHA_256", &Sha256::digest(&certificates));
        let authority = |url: String, chain: [&Holder; 2]| {
            let chain = chain.map(|holder| json!({ "rawBytes": base64(&holder.certificate) }));
            json!({
                "subject": { "organization": "lab", "commonName": "lab" }, "uri": url,
                "certChain": { "certificates": chain }, "validFor": { "start": START },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": logs,
            "ctlogs": [certificates],
            "certificateAuthorities": [authority(url, signers.chain())],
            "timestampAuthorities": [authority(self.timestamp_url(), times.chain())],
        })
    }

    /// A place for what belongs to this laboratory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An identity token by which the authority knows somebody with an e-mail address, vouched for by `issuer`.
    pub fn token(issuer: &str, address: &str) -> String {
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({
            "iss": issuer, "sub": address, "email": address, "email_verified": true, "aud": "sigstore",
            "iat": 1_700_000_000, "exp": 4_000_000_000_u64,
        });
        let part = |part: &Value| BASE64_URL.encode(part.to_string());
        format!("{}.{}.{}", part(&header), part(&claims), BASE64_URL.encode("unsigned"))
    }
}

impl Services {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        if parts.method != Method::POST {
            bail!("{} {}: only POST is understood", parts.method, parts.uri);
        }
        let claims = || claims_of(parts.headers.get(AUTHORIZATION));
        match parts.uri.path() {
            CERTIFICATE_2 => {
                let request: Value = serde_json::from_slice(&body)?;
                let key = request["publicKeyRequest"]["publicKey"]["content"].as_str().context("no public key")?;
                let chain = self.chain(key, &claims()?)?;
                json_answer(
                    StatusCode::OK,
                    &json!({ "signedCertificateEmbeddedSct": { "chain": { "certificates": chain } } }),
                )
            }
            CERTIFICATE_1 => {
                let request: Value = serde_json::from_slice(&body)?;
                let key = from_base64(request["publicKey"]["content"].as_str().context("no public key")?)?;
                let chain = self.chain(str::from_utf8(&key)?, &claims()?)?.concat();
                Ok(answer(StatusCode::CREATED, "application/pem-certificate-chain", chain))
            }
            ENTRIES => {
                let (name, entry) = self.log.add(&serde_json::from_slice(&body)?)?;
                let mut response = json_answer(StatusCode::CREATED, &entry)?;
                let headers = response.headers_mut();
                headers.insert(LOCATION, HeaderValue::from_str(&format!("{ENTRIES}/{name}"))?);
                headers.insert(ETAG, HeaderValue::from_str(&name)?);
                Ok(response)
            }
            path if path.starts_with(TIMESTAMP) => {
                Ok(answer(StatusCode::CREATED, "application/timestamp-reply", self.times.answer(&body)?))
            }
            path => bail!("there is no {path}"),
        }
    }

    /// The certificate of a key (PEM), and those behind it.
    fn chain(&self, key: &str, claims: &Value) -> Result<[String; 3]> {
        let [intermediate, root] = self.signers.chain().map(Holder::pem);
        Ok([self.signers.issue(&from_pem(key)?, claims)?, intermediate, root])
    }
}

/// A log as a `TrustedRoot` describes it: its key (DER) and the name it signs under.
fn described_log(url: &str, key: &[u8], kind: &str, id: &[u8]) -> Value {
    json!({
        "baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": { "keyId": base64(id) },
        "publicKey": { "rawBytes": base64(key), "keyDetails": kind, "validFor": { "start": START } },
    })
}

/// What the bearer of an identity token says of itself.
fn claims_of(authorization: Option<&HeaderValue>) -> Result<Value> {
    let token = authorization.context("no identity token")?.to_str()?;
    let claims = token.split('.').nth(1).context("not an identity token")?;
    Ok(serde_json::from_slice(&BASE64_URL.decode(claims)?)?)
}

fn json_answer(status: StatusCode, body: &Value) -> Result<Response<Body>> {
    Ok(answer(status, "application/json", serde_json::to_vec(body)?))
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// As Fulcio and Rekor say that they do not take something.
fn refusal(error: &anyhow::Error) -> Response<Body> {
    let body = json!({ "code": 400, "message": format!("{error:#}") }).to_string();
    answer(StatusCode::BAD_REQUEST, "application/json", body)
}

fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    Ok(BASE64.decode(text)?)
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

fn from_pem(text: &str) -> Result<Vec<u8>> {
    der_of(text, "PUBLIC KEY")
}

fn from_pem_certificate(text: &str) -> Result<Vec<u8>> {
    der_of(text, "CERTIFICATE")
}

fn der_of(text: &str, label: &str) -> Result<Vec<u8>> {
    let inner = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"));
    let inner = inner.and_then(|inner| inner.strip_suffix(&format!("-----END {label}-----")));
    let text: String = inner.with_context(|| format!("not a {label}"))?.split_whitespace().collect();
    ensure!(!text.is_empty(), "an empty {label}");
    from_base64(&text)
}

/// From when on everything is trusted.
const START: &str = "2020-01-01T00:00:00Z";

const CERTIFICATE_1: &str = "/api/v1/signingCert";
const CERTIFICATE_2: &str = "/api/v2/signingCert";
const ENTRIES: &str = "/api/v1/log/entries";
const TIMESTAMP: &str = "/timestamp";

const SIGNER_ROOT: &str = "root.pem";
const SIGNER_INTERMEDIATE: &str = "intermediate.pem";
const SIGNER_CHAIN: &str = "signers.pem";
const CERTIFICATE_LOG: &str = "certificate-log.pub";
const SIGNATURE_LOG: &str = "signature-log.pub";
const TIME_CHAIN: &str = "timestamps.pem";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT.with_encode_padding(false));
