//! The record of what happened.

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Value};
use crate::metadata::model::accounts::Actor;
use crate::metadata::rows::expect_rows;
use crate::metadata::sql::accounts as sql;

/// What happened, for the record.
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) subject: &'a str,
    pub(super) detail: Json,
    pub(super) now: Timestamp,
}

pub(super) async fn write_down<C: Conn>(tx: &mut C, by: &Actor, event: Event<'_>) -> Result<()> {
    let Event { kind, subject, detail, now } = event;
    let (address, detail) = (by.address.map(|address| address.to_string()), detail.to_string());
    let values = &[
        now.into(),
        kind.into(),
        Value::text_option(by.name.as_deref()),
        Value::text_option(address.as_deref()),
        Value::text_option(by.request_id.as_deref()),
        subject.into(),
        detail.as_str().into(),
    ];
    expect_rows(&sql::EVENT, 1, tx.run(&sql::EVENT, values).await?)
}
