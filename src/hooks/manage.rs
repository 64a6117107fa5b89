//! Making and ending webhooks, and looking after their deliveries.

use secrecy::{ExposeSecret as _, SecretString};

use crate::access::NamespacePath;
use crate::auth::SealError;
use crate::hooks::event::{SECRET_BYTES, SigningKey};
use crate::hooks::{HookUrl, Hooks, UrlError, sealed_name};
use crate::metadata::MetadataError;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{
    DeliveryRecord, HookEvents, NewWebhook, TestQueued, WAITING_MAX, WEBHOOKS_MAX, WebhookAdded, WebhookRecord,
};

/// Why a webhook is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Its address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Its secret.
    #[error("the secret of a webhook is `whsec_` and {} to {} bytes in base64", SECRET_BYTES.start(), SECRET_BYTES.end())]
    Secret,
    /// The one secret of the registry.
    #[error("webhooks cannot be made: {0}")]
    Seal(#[from] SealError),
    /// What to tell it of.
    #[error("name at least one event: push, tag, delete, denial or trust")]
    NoEvents,
    /// No such namespace.
    #[error("there is no namespace `{0}`")]
    NamespaceUnknown(NamespacePath),
    /// No such webhook.
    #[error("there is no webhook `{0}` in this namespace")]
    WebhookUnknown(String),
    /// No such delivery.
    #[error("there is no delivery `{0}` in this namespace, or it is being sent just now")]
    DeliveryUnknown(i64),
    /// Enough.
    #[error("a namespace has at most {WEBHOOKS_MAX} webhooks; remove one first")]
    TooMany,
    /// Its receiver has been away for long.
    #[error("{WAITING_MAX} events wait for this webhook; it takes more when they are delivered or given up")]
    Full,
    /// The database.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// A webhook to be made.
#[derive(Debug)]
pub struct WebhookWish {
    /// Where to send to.
    pub url: String,
    /// What to tell it of.
    pub events: HookEvents,
    /// What signs its deliveries; `None`: one is made.
    pub secret: Option<SecretString>,
}

/// A webhook that was made.
#[derive(Debug)]
pub struct WebhookMade {
    /// Its number.
    pub id: String,
    /// Its secret if it was made here; it is shown only now.
    pub secret: Option<SecretString>,
}

/// Shorthand for this module's results.
type Result<T> = std::result::Result<T, HookError>;

impl Hooks {
    /// Makes a webhook of a namespace.
    ///
    /// # Errors
    /// What is wrong with it, [`HookError::NamespaceUnknown`], [`HookError::TooMany`].
    pub async fn add(&self, namespace: &NamespacePath, wish: WebhookWish, by: &Actor) -> Result<WebhookMade> {
        let url = HookUrl::parse(&wish.url, &self.options.networks)?;
        if wish.events.is_empty() {
            return Err(HookError::NoEvents);
        }
        let (secret, is_made) = match wish.secret {
            Some(given) => (given, false),
            None => (SigningKey::make(self.entropy.as_ref()), true),
        };
        if SigningKey::parse(&secret).is_none() {
            return Err(HookError::Secret);
        }
        let id = hex::encode(&self.entropy.bytes16()[..6]);
        let new = NewWebhook {
            id: id.clone(),
            namespace: namespace.clone(),
            url: url.as_str().to_owned(),
            origin: url.origin(),
            secret_sealed: self.auth.seal(&sealed_name(&id), secret.expose_secret().as_bytes())?,
            events: wish.events,
            now: self.clock.now(),
        };
        match self.store.webhook_add(&new, by).await? {
            WebhookAdded::Added => Ok(WebhookMade { id, secret: is_made.then_some(secret) }),
            WebhookAdded::NamespaceUnknown => Err(HookError::NamespaceUnknown(namespace.clone())),
            WebhookAdded::TooMany => Err(HookError::TooMany),
        }
    }

    /// The webhooks of a namespace.
    ///
    /// # Errors
    /// [`HookError::NamespaceUnknown`].
    pub async fn list(&self, namespace: &NamespacePath) -> Result<Vec<WebhookRecord>> {
        let listed = self.store.webhook_list(namespace).await?;
        listed.ok_or_else(|| HookError::NamespaceUnknown(namespace.clone()))
    }

    /// Lets a webhook rest, or wakes it up.
    ///
    /// # Errors
    /// [`HookError::WebhookUnknown`].
    pub async fn activate(&self, namespace: &NamespacePath, id: &str, active: bool, by: &Actor) -> Result<()> {
        let done = self.store.webhook_activate(namespace, id, active, self.clock.now(), by).await?;
        if done { Ok(()) } else { Err(HookError::WebhookUnknown(id.to_owned())) }
    }

    /// Ends a webhook; what is on its way to it goes.
    ///
    /// # Errors
    /// [`HookError::WebhookUnknown`].
    pub async fn remove(&self, namespace: &NamespacePath, id: &str, by: &Actor) -> Result<()> {
        let done = self.store.webhook_delete(namespace, id, self.clock.now(), by).await?;
        if done { Ok(()) } else { Err(HookError::WebhookUnknown(id.to_owned())) }
    }

    /// Sends a webhook an event that says nothing; gives the number of the delivery.
    ///
    /// # Errors
    /// [`HookError::WebhookUnknown`], [`HookError::Full`].
    pub async fn test(&self, namespace: &NamespacePath, id: &str, by: &Actor) -> Result<i64> {
        match self.store.webhook_test(namespace, id, self.clock.now(), by).await? {
            TestQueued::Queued(delivery) => Ok(delivery),
            TestQueued::WebhookUnknown => Err(HookError::WebhookUnknown(id.to_owned())),
            TestQueued::Full => Err(HookError::Full),
        }
    }

    /// Deliveries of a namespace, the newest first, those before `before`; only dead ones if that is asked for.
    ///
    /// # Errors
    /// [`HookError::NamespaceUnknown`].
    pub async fn deliveries(
        &self,
        namespace: &NamespacePath,
        dead: bool,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>> {
        let listed = self.store.delivery_list(namespace, dead, before, limit).await?;
        listed.ok_or_else(|| HookError::NamespaceUnknown(namespace.clone()))
    }

    /// Sends an event again, whatever became of it.
    ///
    /// # Errors
    /// [`HookError::DeliveryUnknown`].
    pub async fn resend(&self, namespace: &NamespacePath, id: i64, by: &Actor) -> Result<()> {
        let done = self.store.delivery_again(namespace, id, self.clock.now(), by).await?;
        if done { Ok(()) } else { Err(HookError::DeliveryUnknown(id)) }
    }
}
