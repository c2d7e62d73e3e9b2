#![expect(
    clippy::disallowed_methods,
    reason = "waits for the store, reads files that are written to it, and authorities"
)]

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{
    GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use super::credentials::{self, Variables};
use super::fault::{Fault, code};
use super::traffic::{Direction, Traffic};
use super::transport::{Purpose, READ_PATIENCE, SMALL_PATIENCE, Transport, client, innermost};
use crate::cache::config::{BucketConfig, Encryption};
use crate::cache::store::Blob;
use crate::secret::Secret;

/// Larger blobs are written in parts of this size, or of more where there would be too many.
const PART: u64 = 8 << 20;
/// Smaller blobs are sent without a look whether they are there.
const AT_ONCE: u64 = 64 << 10;
/// How many parts a blob may have; AWS takes 10,000.
const PARTS: u64 = 9000;
/// How long a transfer from the bucket may give nothing before upstream is asked for the rest.
const IDLE: Duration = Duration::from_secs(5);
/// What comes more slowly than so many bytes a second counts as broken: upstream is likely to be faster.
const LEAST_RATE: u64 = 32 << 10;
/// Over what time that is measured.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// The largest thing that is read at once, in bytes.
const LARGEST_SMALL: u64 = 32 << 20;

/// What is said to a bucket, typed.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pull: AmazonS3,
    pub(super) care: AmazonS3,
    collect: AmazonS3,
    /// Signs addresses for clients.
    sign: AmazonS3,
    /// How long the header of an answer may take to something that is read.
    patience: Duration,
    /// For what the library has no words for.
    pub(super) transport: Transport,
    pub(super) region: String,
    pub(super) url: Url,
    /// Where it is for clients that are sent there.
    pub(super) redirect_url: Url,
    /// What asks as such a client does.
    http: reqwest::Client,
    traffic: Arc<Traffic>,
    /// The store has no conditional writes: what is written may be written twice.
    is_unconditional: Arc<AtomicBool>,
}

/// Why something with a bucket failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ClientError(String);

/// What became of something that must not replace anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was written.
    Created,
    /// There was something of that name.
    Existed,
}

/// Keys, as they are listed.
pub(super) struct Page {
    pub(super) keys: Vec<Stored>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
}

/// Where a page of a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListFrom {
    /// At the first key.
    Start,
    /// Where the page before has ended, as the store says.
    Token(String),
    /// After a key.
    After(String),
}

/// A key, as it is listed.
pub(super) struct Stored {
    pub(super) key: String,
    pub(super) bytes: u64,
    /// When it was written, by the store's clock, in seconds since 1970.
    pub(super) written: u64,
}

/// A blob's bytes from some position on.
pub(super) struct Opened {
    /// How long the whole blob is.
    pub(super) total: u64,
    pub(super) body: BoxStream<'static, io::Result<Bytes>>,
}

impl ClientError {
    pub(super) fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl From<object_store::Error> for ClientError {
    fn from(error: object_store::Error) -> Self {
        let mut text = innermost(&error);
        if let Some(fault) = answered(&text) {
            return Self(fault.to_string());
        }
        // The body of an answer may stand in it.
        if let Some((at, _)) = text.char_indices().nth(200) {
            text.truncate(at);
        }
        Self(text.replace(char::is_control, " "))
    }
}

/// Reads what is wrong out of what the library says of an answer.
fn answered(text: &str) -> Option<Fault> {
    let (_, answer) = text.split_once("non-2xx status code: ")?;
    let status = answer.get(..3)?.parse().ok()?;
    Fault::of_answer(status, code(answer.as_bytes()))
}

impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        Self::other(error)
    }
}

impl Client {
    /// Makes a client of what is configured, and what the environment says.
    ///
    /// Fails with what to do where something is missing or wrong; the store is not asked.
    pub(super) fn new(config: &BucketConfig, variables: Variables<'_>) -> Result<Self, String> {
        let region = credentials::region(config, variables);
        let endpoint = endpoint(config, config.endpoint.as_ref(), &region, variables)?;
        let redirect_url = match &config.redirect_endpoint {
            Some(url) => self::endpoint(config, Some(url), &region, variables)?,
            None => endpoint.clone(),
        };
        let mut roots = Vec::new();
        if let Some(file) = &config.ca {
            let pem =
                std::fs::read(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            roots = read.map_err(|_| format!("`{}` is not valid PEM", file.display()))?;
            if roots.is_empty() {
                return Err(format!("`{}` holds no certificate", file.display()));
            }
        }
        let http = client(roots)?;
        let traffic = Arc::<Traffic>::default();
        let transport = |purpose| {
            Transport::new(http.clone(), Arc::clone(&traffic), purpose, endpoint.authority().to_owned())
        };
        let build = |purpose, endpoint: &Url| {
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(config.address.name())
                .with_region(&region)
                // Where the bucket is, name included.
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_virtual_hosted_style_request(true)
                .with_disable_bulk_delete(true)
                // What fails is tried again by those who know whether a client waits.
                .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
                .with_http_connector(transport(purpose));
            match &config.encryption {
                None => {}
                Some(Encryption::Store) => {
                    builder = builder.with_config(key("aws_server_side_encryption")?, "AES256");
                }
                Some(Encryption::Kms(named)) => {
                    builder = builder.with_config(key("aws_server_side_encryption")?, "aws:kms");
                    if let Some(named) = named {
                        builder = builder.with_config(key("aws_sse_kms_key_id")?, named);
                    }
                }
            }
            let builder = credentials::add(builder, config, variables, &traffic)?;
            builder.build().map_err(|error| innermost(&error))
        };
        Ok(Self {
            pull: build(Purpose::Pull, &endpoint)?,
            care: build(Purpose::Care, &endpoint)?,
            collect: build(Purpose::Collect, &endpoint)?,
            sign: build(Purpose::Pull, &redirect_url)?,
            patience: READ_PATIENCE,
            transport: transport(Purpose::Collect),
            region,
            url: endpoint,
            redirect_url,
            http,
            traffic,
            is_unconditional: Arc::default(),
        })
    }

    /// Returns a client whose requests may take long, and whose failures say nothing to those who wait for a pull.
    pub(super) fn for_collection(&self) -> Self {
        let store = &self.collect;
        Self { pull: store.clone(), care: store.clone(), patience: SMALL_PATIENCE, ..self.clone() }
    }

    /// Returns where the bucket is, without what may be a password.
    pub(super) fn location(&self) -> String {
        let mut url = self.url.clone();
        // Without a host, there is none.
        let _ = (url.set_username(""), url.set_password(None));
        url.to_string()
    }

    pub(super) const fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn store(&self, purpose: Purpose) -> &AmazonS3 {
        match purpose {
            Purpose::Pull => &self.pull,
            Purpose::Care => &self.care,
            Purpose::Collect => &self.collect,
        }
    }

    /// Waits for something that is read, as long as that may take in all.
    async fn read<T>(
        &self,
        run: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<Option<T>, ClientError> {
        match timeout(self.patience, run).await {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                if self.patience == READ_PATIENCE {
                    self.traffic.note(Direction::Read, Some(Fault::Slow));
                }
                Err(ClientError(Fault::Slow.to_string()))
            }
        }
    }

    /// Lists keys that begin with something, a page of them.
    pub(super) async fn page(&self, prefix: &str, from: &ListFrom) -> Result<Page, ClientError> {
        let mut options = PaginatedListOptions::default();
        match from {
            ListFrom::Start => {}
            ListFrom::Token(token) => options.page_token = Some(token.clone()),
            ListFrom::After(key) => options.offset = Some(key.clone()),
        }
        let found = self.read(self.care.list_paginated(Some(prefix), options)).await?;
        let found = found.ok_or_else(|| ClientError("there is no such bucket".to_owned()))?;
        let keys = found.result.objects.into_iter().map(|object| Stored {
            key: object.location.to_string(),
            bytes: object.size,
            written: u64::try_from(object.last_modified.timestamp()).unwrap_or_default(),
        });
        Ok(Page { keys: keys.collect(), next: found.page_token })
    }

    /// Returns when a key was written, by the store's clock, in seconds; [`None`] where it is not there.
    pub(super) async fn date(&self, key: &str) -> Result<Option<u64>, ClientError> {
        let path = Path::from(key);
        let found = self.read(self.care.head(&path)).await?;
        Ok(found.map(|found| u64::try_from(found.last_modified.timestamp()).unwrap_or_default()))
    }

    /// Writes something small, whatever is there.
    pub(super) async fn overwrite(&self, key: &str, bytes: Bytes) -> Result<(), ClientError> {
        let path = Path::from(key);
        let put = self.care.put(&path, PutPayload::from_bytes(bytes));
        put.await.map(drop).map_err(Into::into)
    }

    /// Reads something small.
    pub(super) async fn get(&self, purpose: Purpose, key: &str) -> Result<Option<Bytes>, ClientError> {
        let read = async {
            let found = self.store(purpose).get_opts(&Path::from(key), GetOptions::default()).await?;
            if found.meta.size > LARGEST_SMALL {
                return Ok(None);
            }
            found.bytes().await.map(Some)
        };
        let found = self.read(read).await?.flatten();
        self.traffic.received(found.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(found)
    }

    /// Returns whether there is such a key.
    pub(super) async fn has(&self, purpose: Purpose, key: &str) -> Result<bool, ClientError> {
        let path = Path::from(key);
        Ok(self.read(self.store(purpose).head(&path)).await?.is_some())
    }

    /// Returns an address that gives a key to whoever has it, for some time.
    pub(super) async fn signed(&self, key: &str, holds: Duration) -> Result<Secret<String>, ClientError> {
        let path = Path::from(key);
        let signed = timeout(self.patience, self.sign.signed_url(http::Method::GET, &path, holds)).await;
        // Only the credentials may have to be asked for.
        let signed = signed.map_err(|_| ClientError("the credentials for it take too long".to_owned()))?;
        Ok(Secret::new(String::from(signed?)))
    }

    /// Asks for what is at an address, as whoever has it does; returns the status of the answer.
    pub(super) async fn ask_as_client(&self, url: &Secret<String>) -> Result<u16, reqwest::Error> {
        let request = self.http.get(url.expose()).timeout(self.patience);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        Ok(answer.status().as_u16())
    }

    /// Returns the first keys that begin with something, in their order.
    pub(super) async fn first(
        &self,
        purpose: Purpose,
        prefix: &str,
        count: usize,
    ) -> Result<Vec<String>, ClientError> {
        let options = PaginatedListOptions { max_keys: Some(count), ..PaginatedListOptions::default() };
        let found = self.read(self.store(purpose).list_paginated(Some(prefix), options)).await?;
        let objects = found.map(|page| page.result.objects).unwrap_or_default();
        Ok(objects.into_iter().map(|object| object.location.to_string()).collect())
    }

    /// Opens a blob from byte `from` on.
    pub(super) async fn open(&self, key: &str, from: u64) -> Result<Option<Opened>, ClientError> {
        self.open_range(Purpose::Pull, key, (from > 0).then_some(GetRange::Offset(from))).await
    }

    /// Opens a part of a blob that is being read: it is sent to a bucket that is not well, too.
    pub(super) async fn open_part(
        &self,
        key: &str,
        part: std::ops::Range<u64>,
    ) -> Result<Option<Opened>, ClientError> {
        self.open_range(Purpose::Care, key, Some(GetRange::Bounded(part))).await
    }

    async fn open_range(
        &self,
        purpose: Purpose,
        key: &str,
        range: Option<GetRange>,
    ) -> Result<Option<Opened>, ClientError> {
        let options = GetOptions { range, ..GetOptions::default() };
        let Some(found) = self.read(self.store(purpose).get_opts(&Path::from(key), options)).await? else {
            return Ok(None);
        };
        let total = found.meta.size;
        let transfer = Transfer {
            body: found.into_stream(),
            traffic: Arc::clone(&self.traffic),
            is_waited_for: self.patience == READ_PATIENCE,
            waited: Duration::ZERO,
            came: 0,
        };
        let body = stream::try_unfold(transfer, |mut transfer| async move {
            Ok(transfer.next().await?.map(|bytes| (bytes, transfer)))
        });
        Ok(Some(Opened { total, body: body.boxed() }))
    }

    /// Writes something small that must not replace anything.
    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<Put, ClientError> {
        let path = Path::from(key);
        let put = async |mode| {
            let options = PutOptions { mode, ..PutOptions::default() };
            self.care.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options).await
        };
        if !self.is_unconditional.load(Ordering::Relaxed) {
            match put(PutMode::Create).await {
                Ok(_) => return Ok(Put::Created),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    // A store says so, too, while another request for the key is under way, which may remove it.
                    if self.has(Purpose::Care, key).await? {
                        return Ok(Put::Existed);
                    }
                    return Err(ClientError(format!("another request for `{key}` is under way")));
                }
                Err(
                    object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. },
                ) => {}
                Err(error) if error.to_string().contains("NotImplemented") => {}
                Err(error) => return Err(error.into()),
            }
            self.is_unconditional.store(true, Ordering::Relaxed);
        }
        put(PutMode::Overwrite).await?;
        Ok(Put::Created)
    }

    /// Writes something small that must not replace anything, now; returns its version, or [`None`] where there is
    /// something of that name.
    pub(super) async fn create(&self, key: &str, bytes: Bytes) -> Result<Option<String>, ClientError> {
        self.put_version(key, bytes, PutMode::Create).await
    }

    /// Writes something small in place of one version; returns the new version, or [`None`] where there is another one.
    pub(super) async fn replace(
        &self,
        key: &str,
        bytes: Bytes,
        version: &str,
    ) -> Result<Option<String>, ClientError> {
        let version = UpdateVersion { e_tag: Some(version.to_owned()), version: None };
        self.put_version(key, bytes, PutMode::Update(version)).await
    }

    async fn put_version(
        &self,
        key: &str,
        bytes: Bytes,
        mode: PutMode,
    ) -> Result<Option<String>, ClientError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.care.put_opts(&Path::from(key), PutPayload::from_bytes(bytes), options).await {
            Ok(put) => {
                put.e_tag.map(Some).ok_or_else(|| ClientError("the store gives no version".to_owned()))
            }
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads something small, and its version.
    pub(super) async fn get_version(&self, key: &str) -> Result<Option<(Bytes, String)>, ClientError> {
        let read = async {
            let found = self.care.get_opts(&Path::from(key), GetOptions::default()).await?;
            let (size, version) = (found.meta.size, found.meta.e_tag.clone());
            let bytes = if size > LARGEST_SMALL { Bytes::new() } else { found.bytes().await? };
            Ok(version.map(|version| (bytes, version)))
        };
        Ok(self.read(read).await?.flatten())
    }

    /// Takes note that the store does not look at the condition of a write.
    pub(super) fn set_unconditional(&self) {
        self.is_unconditional.store(true, Ordering::Relaxed);
    }

    /// Writes a blob: at once where it is small, else in parts, so that it is there whole or not at all.
    pub(super) async fn put_blob(&self, key: &str, blob: &Blob) -> Result<Put, ClientError> {
        // What is there already is not sent.
        if blob.len() > AT_ONCE && self.has(Purpose::Care, key).await? {
            return Ok(Put::Existed);
        }
        if blob.len() <= PART {
            let bytes = part(blob, 0, blob.len()).await?;
            return self.put(key, bytes).await;
        }
        let path = Path::from(key);
        let upload = self.care.create_multipart(&path).await?;
        let written = async {
            let size = PART.max(blob.len().div_ceil(PARTS).next_multiple_of(1 << 20));
            let (mut parts, mut at) = (Vec::new(), 0);
            while at < blob.len() {
                let length = size.min(blob.len() - at);
                let bytes = part(blob, at, length).await?;
                let payload = PutPayload::from_bytes(bytes);
                parts.push(self.care.put_part(&path, &upload, parts.len(), payload).await?);
                at += length;
            }
            self.care.complete_multipart(&path, &upload, parts).await?;
            Ok(Put::Created)
        };
        let written: Result<Put, ClientError> = written.await;
        if written.is_err() {
            // What cannot be aborted now, a rule of the bucket removes.
            drop(self.care.abort_multipart(&path, &upload).await);
        }
        written
    }

    /// Removes a key; one that is not there is success.
    pub(super) async fn remove(&self, key: &str) -> Result<(), ClientError> {
        match self.care.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A transfer from the bucket, which counts as broken when it is too slow. Time in which no reader wants any does not
/// count.
struct Transfer {
    body: BoxStream<'static, object_store::Result<Bytes>>,
    traffic: Arc<Traffic>,
    /// A client waits for it: how it goes says something to others.
    is_waited_for: bool,
    waited: Duration,
    came: u64,
}

impl Transfer {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let begun = Instant::now();
        let idle = if self.is_waited_for { IDLE } else { SMALL_PATIENCE };
        let Ok(next) = timeout(idle, self.body.next()).await else { return Err(self.broken(Fault::Slow)) };
        let bytes = match next {
            None => return Ok(None),
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(self.broken(Fault::Unreachable(innermost(&error)))),
        };
        self.traffic.received(bytes.len() as u64);
        self.waited += begun.elapsed();
        self.came += bytes.len() as u64;
        if self.waited >= SLOW_AFTER {
            if self.came < LEAST_RATE * SLOW_AFTER.as_secs() {
                return Err(self.broken(Fault::Slow));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(Some(bytes))
    }

    fn broken(&self, fault: Fault) -> io::Error {
        let error = io::Error::other(fault.to_string());
        if self.is_waited_for {
            self.traffic.note(Direction::Read, Some(fault));
        } else {
            self.traffic.note_failure();
        }
        error
    }
}

fn key(name: &str) -> Result<AmazonS3ConfigKey, String> {
    name.parse().map_err(|error: object_store::Error| error.to_string())
}

/// Reads a part of a blob.
async fn part(blob: &Blob, at: u64, length: u64) -> Result<Bytes, ClientError> {
    let file = Arc::clone(blob.file());
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
    });
    let read = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(|error| ClientError(format!("cannot read the blob that is to be written: {error}")))
}

/// Returns the URL of the bucket: its name stands in the host, or in the path where that is wanted or cannot be
/// otherwise.
fn endpoint(
    config: &BucketConfig,
    named: Option<&Url>,
    region: &str,
    variables: Variables<'_>,
) -> Result<Url, String> {
    let name = config.address.name();
    let variable = || {
        let set = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        set.into_iter().find_map(|name| Some((name, variables(name)?)))
    };
    let mut url = match (named, variable()) {
        (Some(url), _) => url.clone(),
        (None, Some((variable, url))) => {
            url.parse().map_err(|error| format!("{variable} is not a valid URL: {error}"))?
        }
        (None, None) => {
            let url = format!("https://s3.{region}.amazonaws.com");
            url.parse().map_err(|_| format!("`{region}` is not a valid region"))?
        }
    };
    let has_name = matches!(url.host(), Some(Host::Domain(host)) if host.contains('.'));
    // A certificate for `*.s3.example.com` is not one for a name with a dot more.
    if config.path_style || !has_name || name.contains(['.', '_']) {
        let path = format!("{}/{name}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    } else {
        let host = format!("{name}.{}", url.host_str().unwrap_or_default());
        url.set_host(Some(&host)).map_err(|_| format!("`{name}` cannot stand in a host's name"))?;
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let said = |text: &str| answered(text).map(|fault| fault.to_string());
        let denied =
            "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>";
        assert!(said(denied).unwrap().starts_with("it denies access (403 AccessDenied)"));
        assert!(
            said("Server returned non-2xx status code: 500 x: ").unwrap().contains("error of its own (500)")
        );
        for other in
            ["Server returned non-2xx status code: 412 x: ", "non-2xx status code: ", "it is gone", ""]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn where_a_bucket_is() {
        let at = |bucket: &str, url: Option<&str>, path_style| {
            let mut config = BucketConfig::new(bucket.parse().unwrap());
            config.endpoint = url.map(|url| url.parse().unwrap());
            config.path_style = path_style;
            endpoint(&config, config.endpoint.as_ref(), "eu-west-1", &|_| None).unwrap().to_string()
        };
        assert_eq!(at("s3://images/a", None, false), "https://images.s3.eu-west-1.amazonaws.com/");
        assert_eq!(at("s3://my.images", None, false), "https://s3.eu-west-1.amazonaws.com/my.images");
        assert_eq!(at("s3://images", Some("https://s3.example"), false), "https://images.s3.example/");
        assert_eq!(at("s3://images", Some("https://s3.example/x/"), true), "https://s3.example/x/images");
        assert_eq!(at("s3://images", Some("http://127.0.0.1:9000"), false), "http://127.0.0.1:9000/images");
        assert_eq!(at("s3://images", Some("http://rgw:8080"), false), "http://rgw:8080/images");
        let by_variable = |name: &str| (name == "AWS_ENDPOINT_URL").then(|| "http://[::1]:1".to_owned());
        let config = BucketConfig::new("s3://images".parse().unwrap());
        assert_eq!(endpoint(&config, None, "x", &by_variable).unwrap().as_str(), "http://[::1]:1/images");
    }
}
