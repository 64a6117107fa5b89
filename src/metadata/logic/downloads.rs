//! Who downloaded what.

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::downloads::{Download, DownloadRecord};
use crate::metadata::rows::{parse, signed, unsigned};
use crate::metadata::sql::downloads as sql;
use crate::oci::name::RepoName;

record! {
    struct DownloadRow {
        id: i64,
        hour: i64,
        digest: String,
        actor: String,
        address: String,
        pulls: i64,
    }
}

pub(super) async fn add<C: Conn>(tx: &mut C, downloads: &[(Download, u64)]) -> Result<()> {
    let row = |(download, pulls): &(Download, u64)| {
        let Download { hour, repo, digest, actor, address } = download;
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let actor = actor.as_deref().unwrap_or_default();
        json!([hour.as_micros(), repo.as_str(), digest.to_string(), actor, address, signed(*pulls)])
    };
    let rows: Vec<_> = downloads.iter().map(row).collect();
    tx.run(&sql::ADD, &[Value::rows(&rows)]).await.map(drop)
}

pub(super) async fn list<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    before: i64,
    limit: u32,
) -> Result<Vec<DownloadRecord>> {
    let rows: Vec<DownloadRow> = conn.all(&sql::LIST, values![repo.as_str(), before, limit]).await?;
    let record = |row: DownloadRow| {
        let DownloadRow { id, hour, digest, actor, address, pulls } = row;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let address = some(address).map(|text| parse("downloads", "address", id, &text)).transpose()?;
        let digest = parse("downloads", "digest", id, &digest)?;
        let hour = Timestamp::from_micros(hour);
        let download = Download { hour, repo: repo.clone(), digest, actor: some(actor), address };
        Ok(DownloadRecord { id, download, pulls: unsigned("downloads", "pulls", id, pulls)? })
    };
    rows.into_iter().map(record).collect()
}

pub(super) async fn forget<C: Conn>(tx: &mut C, before: Timestamp, limit: u32) -> Result<u64> {
    tx.run(&sql::FORGET, values![before, limit]).await
}
