//! The keyring of the person's desktop session, by the Secret Service interface that GNOME Keyring,
//! KWallet and KeePassXC offer: the source `keyring`, and where logins may rest.
//!
//! One connection for each operation and none in between: a daemon that uses no keyring pays
//! nothing for it, and one that does keeps no way into it open. What travels over the bus is
//! encrypted. Nobody is ever asked to unlock anything: a daemon has nobody to ask, and says what is
//! locked.

use std::collections::HashMap;

use secret_service::{Collection, EncryptionType, Error, Item, SecretService};
use zeroize::Zeroizing;

use super::keyring_error::{KeyringError, LIMIT};
use super::{Place, StoreError, bus, checked, without_newline};
use crate::model::secret::Secret;

/// By what an item is found. Not secret: keyrings keep them in the clear.
pub(super) type Attributes = Vec<(&'static str, String)>;

/// The secret of the one item with the attributes that `keyring set valetkey NAME` (Python) and
/// `secret-tool store … service valetkey username NAME` give it.
pub(super) fn read(name: &str) -> Result<Secret, StoreError> {
    let place = Place::Keyring(name.to_owned());
    let attributes = vec![("service", "valetkey".to_owned()), ("username", name.to_owned())];
    let found = get(attributes).map_err(|error| StoreError::Keyring(place.clone(), error))?;
    checked(without_newline(found), place)
}

/// The secret of the one item with these attributes.
pub(super) fn get(attributes: Attributes) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    run(async move || {
        let service = connect().await?;
        match only(&service, &attributes).await? {
            Some(item) => Ok(Zeroizing::new(item.get_secret().await?)),
            None => Err(KeyringError::Missing),
        }
    })
}

/// Stores a secret: in the item with these attributes, else in a new one.
pub(super) fn put(
    label: String,
    attributes: Attributes,
    secret: Zeroizing<Vec<u8>>,
) -> Result<(), KeyringError> {
    run(async move || {
        let service = connect().await?;
        if let Some(item) = only(&service, &attributes).await? {
            return Ok(item.set_secret(&secret, "text/plain").await?);
        }
        let collection = unlocked(&service).await?;
        let attributes = by_name(&attributes);
        collection.create_item(&label, attributes, &secret, true, "text/plain").await?;
        Ok(())
    })
}

/// Deletes the item with these attributes, where there is one.
pub(super) fn delete(attributes: Attributes) -> Result<(), KeyringError> {
    run(async move || {
        let service = connect().await?;
        match only(&service, &attributes).await? {
            Some(item) => Ok(item.delete().await?),
            None => Ok(()),
        }
    })
}

/// Whether something could be stored there now.
pub(super) fn ready() -> Result<(), KeyringError> {
    run(async || {
        let service = connect().await?;
        unlocked(&service).await.map(drop)
    })
}

async fn connect() -> Result<SecretService<'static>, KeyringError> {
    Ok(SecretService::connect_with_existing(EncryptionType::Dh, bus::connect().await?).await?)
}

/// The one item with these attributes.
async fn only<'a>(
    service: &'a SecretService<'_>,
    attributes: &Attributes,
) -> Result<Option<Item<'a>>, KeyringError> {
    let mut found = service.search_items(by_name(attributes)).await?;
    match (found.unlocked.len(), found.locked.len()) {
        (1, 0) => Ok(found.unlocked.pop()),
        (0, 1) => Err(KeyringError::Locked),
        // Some keyrings tell nothing of what is in them while they are locked.
        (0, 0) => match service.get_default_collection().await {
            Ok(collection) if collection.is_locked().await? => Err(KeyringError::Locked),
            Ok(_) | Err(Error::NoResult) => Ok(None),
            Err(error) => Err(error.into()),
        },
        _ => Err(KeyringError::Several),
    }
}

/// The collection that new items go to; an error where it is locked.
async fn unlocked<'a>(service: &'a SecretService<'_>) -> Result<Collection<'a>, KeyringError> {
    let collection = match service.get_default_collection().await {
        Ok(collection) => collection,
        // There is a service, and nothing in it to keep secrets in.
        Err(Error::NoResult) => return Err(KeyringError::Unavailable),
        Err(error) => return Err(error.into()),
    };
    if collection.is_locked().await? { Err(KeyringError::Locked) } else { Ok(collection) }
}

fn by_name(attributes: &Attributes) -> HashMap<&str, &str> {
    attributes.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Runs one operation to its end, on a thread and a runtime of its own: whoever asks may be in a
/// runtime or not.
fn run<T: Send + 'static>(
    operation: impl AsyncFnOnce() -> Result<T, KeyringError> + Send + 'static,
) -> Result<T, KeyringError> {
    let thread = std::thread::Builder::new().name("keyring".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|_| KeyringError::Failed)?;
        runtime.block_on(async {
            match tokio::time::timeout(LIMIT, operation()).await {
                Ok(result) => result,
                Err(_) => Err(KeyringError::TimedOut),
            }
        })
    });
    // It ends by a panic only where a library below has a bug.
    thread.map_or(Err(KeyringError::Failed), |thread| {
        thread.join().unwrap_or(Err(KeyringError::Failed))
    })
}
