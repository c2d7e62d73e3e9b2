#![expect(clippy::disallowed_methods, reason = "waits for the store")]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use tokio::time::timeout;

use super::client::{Client, ClientError};

/// How long the list may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The most that is read of it, in bytes; a store lists a thousand at once.
const MOST: usize = 4 << 20;

/// An upload in parts that was begun and not ended, of which the store keeps the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) key: String,
    id: String,
    /// When it was begun, by the store's clock, in seconds since 1970.
    pub(super) begun: u64,
}

impl Client {
    /// Lists uploads that were begun and not ended of keys that begin with something, a thousand at most; none where the
    /// store lists none.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, ClientError> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("uploads", "").append_pair("prefix", prefix);
        let wrong = |error: &dyn std::fmt::Display| ClientError::new(&error.to_string());
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
        let credential = self.care.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        let asked = async {
            let answer = self.transport.call(request).await.map_err(|error| wrong(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            Ok::<_, ClientError>((status, body.map_err(|error| wrong(&error))?.to_bytes()))
        };
        let answered = timeout(PATIENCE, asked).await;
        match answered.unwrap_or_else(|_| Err(ClientError::new("it does not list uploads in time")))? {
            (StatusCode::OK, body) => Ok(read(&body)),
            // Not every store can, and not everybody may.
            (status, _) => {
                tracing::debug!(%status, "the store of the bucket does not list uploads that were not ended");
                Ok(Vec::new())
            }
        }
    }

    /// Removes the parts of an upload.
    pub(super) async fn abort(&self, upload: &Upload) -> Result<(), ClientError> {
        match self.care.abort_multipart(&Path::from(upload.key.as_str()), &upload.id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads a list of uploads.
fn read(body: &Bytes) -> Vec<Upload> {
    let text = String::from_utf8_lossy(body);
    let each = text.split("<Upload>").skip(1);
    let upload = |one: &str| {
        let field = |name: &str| {
            let (_, rest) = one.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some(
                value
                    .replace("&quot;", "\"")
                    .replace("&apos;", "'")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&"),
            )
        };
        let begun: Timestamp = field("Initiated")?.parse().ok()?;
        Some(Upload {
            key: field("Key")?,
            id: field("UploadId")?,
            begun: u64::try_from(begun.as_second()).ok()?,
        })
    };
    each.filter_map(upload).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_of_a_list() {
        let xml = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><Bucket>b</Bucket><Upload><Key>a/blobs/1</Key>\
            <UploadId>x&amp;y</UploadId><Initiator><ID>i</ID></Initiator><Initiated>2026-11-01T00:00:00.000Z</Initiated>\
            </Upload><Upload><Key>torn</Key></Upload></ListMultipartUploadsResult>";
        let found = read(&Bytes::from_static(xml.as_bytes()));
        let begun = "2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        assert_eq!(
            found,
            [Upload {
                key: "a/blobs/1".to_owned(),
                id: "x&y".to_owned(),
                begun: u64::try_from(begun).unwrap()
            }]
        );
        assert_eq!(read(&Bytes::from_static(b"<html>")), []);
    }
}
