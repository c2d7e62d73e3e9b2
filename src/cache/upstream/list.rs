use std::collections::HashSet;

use bytes::Bytes;
use http::header::LINK;
use serde_json::Value;
use url::Url;

use super::endpoints::{CountsAgainstQuota, Endpoints, InvalidReply, Reply};
use super::error::EndpointError;
use super::registry::Upstream;
use crate::cache::download::FetchError;
use crate::image::{Digest, Repository};
use crate::oci::{
    ClientError, MAX_MANIFEST_SIZE, MAX_TAGS_SIZE, ManifestKind, Method, RegistryRequest, RequestError,
    next_link, parse_tags,
};

/// How many pages of a list are read.
const PAGES: usize = 200;
/// How many tags of a repository are listed.
const TAGS: usize = 100_000;
/// How many are read of a registry that begins with the first, whatever tag it is told to go on behind.
const MOST: usize = 1_000_000;

/// Tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagList {
    /// The tags, in the order in which they came.
    pub tags: Vec<String>,
    /// Whether there are more behind the last.
    pub has_more: bool,
    /// Whether they begin behind the tag that was named, rather than with the first.
    pub is_rest: bool,
}

impl Upstream {
    /// Lists the tags of a repository behind `last`: at least `n`, if there are so many, else all.
    ///
    /// Both are passed on; a registry that knows neither gives its whole list.
    pub async fn tags(
        &self,
        repository: &Repository,
        n: Option<usize>,
        last: Option<&str>,
    ) -> Result<TagList, FetchError> {
        let check = |reply: &Reply| match parse_tags(&reply.body) {
            Some(_) => Ok(()),
            None => Err(InvalidReply::Malformed("what came is not a list of tags".to_owned())),
        };
        let mut ask = RegistryRequest::new(Method::Get, repository, "tags/list");
        ask.query.extend(n.map(|n| ("n".to_owned(), n.to_string())));
        ask.query.extend(last.map(|last| ("last".to_owned(), last.to_owned())));
        let no = CountsAgainstQuota::No;
        let first = self.endpoints.ask(&ask, no, MAX_TAGS_SIZE, &check).await;
        let mut reply = first.map_err(|failed| Endpoints::failed(&failed))?;
        let (mut tags, mut followed) = (Vec::new(), HashSet::new());
        let mut is_rest = false;
        for page in 1.. {
            let more = parse_tags(&reply.body).unwrap_or_default();
            if page == 1 {
                is_rest = last.is_some_and(|last| !more.iter().any(|tag| tag == last));
            }
            let known = tags.len();
            tags.extend(more);
            // A link that leads where another one led, or a page with nothing in it, leads nowhere.
            let next = reply.header(LINK).and_then(next_link).map(str::to_owned);
            let next = next.filter(|next| tags.len() > known && followed.insert(next.clone()));
            let Some(next) = next else { return Ok(TagList { tags, has_more: false, is_rest }) };
            match progress(tags.len(), n, last.is_some() && !is_rest) {
                Progress::GoOn if page < PAGES => {}
                Progress::GoOn | Progress::Enough => return Ok(TagList { tags, has_more: true, is_rest }),
                Progress::TooMany => {
                    return Err(FetchError::unavailable(
                        "its list of tags is too long to find the place in it",
                    ));
                }
            }
            ask.query = query_of(&next);
            let one = self.endpoints.ask_one(reply.endpoint, &ask, no, MAX_TAGS_SIZE, &check).await;
            reply = one.map_err(|failed| Endpoints::failed(&[failed]))?;
        }
        Ok(TagList { tags, has_more: false, is_rest })
    }

    /// Returns the index of what refers to a manifest, of every type.
    ///
    /// A registry that does not know this API gives [`FetchError::NotFound`], upon which clients look for a tag.
    pub async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Bytes, FetchError> {
        let what = format!("referrers/{digest}");
        // Those that do not know the API show a web page, or what they have under every unknown path.
        let check = |reply: &Reply| match referrers_of(&reply.body) {
            Some(_) => Ok(()),
            None => Err(InvalidReply::Malformed("what came is not an index of referrers".to_owned())),
        };
        let accept = Some(ManifestKind::OciIndex.media_type());
        let pages = self.pages(repository, &what, accept, MAX_MANIFEST_SIZE, &check).await;
        let pages = pages.map_err(|failed| {
            if failed.iter().all(is_unknown) { FetchError::NotFound } else { Endpoints::failed(&failed) }
        })?;
        match pages.as_slice() {
            [page] => Ok(page.clone()),
            pages => joined(pages).ok_or_else(|| FetchError::Unavailable {
                what: "its list of referrers is malformed".to_owned(),
            }),
        }
    }

    /// Reads a list page by page, all from the endpoint that gives the first.
    async fn pages(
        &self,
        repository: &Repository,
        what: &str,
        accept: Option<&str>,
        limit: usize,
        check: &(dyn Fn(&Reply) -> Result<(), InvalidReply> + Send + Sync),
    ) -> Result<Vec<Bytes>, Vec<EndpointError>> {
        let mut ask = RegistryRequest::new(Method::Get, repository, what);
        ask.accept = accept;
        let mut reply = self.endpoints.ask(&ask, CountsAgainstQuota::No, limit, check).await?;
        let (mut pages, mut size, mut followed) = (Vec::new(), 0, HashSet::new());
        loop {
            let next = reply.header(LINK).and_then(next_link).map(str::to_owned);
            size += reply.body.len();
            pages.push(reply.body);
            let is_new = |next: &String| followed.insert(next.clone());
            let next = next.filter(|_| pages.len() < PAGES && size < limit).filter(is_new);
            let Some(next) = next else { return Ok(pages) };
            ask.query = query_of(&next);
            let one =
                self.endpoints.ask_one(reply.endpoint, &ask, CountsAgainstQuota::No, limit, check).await;
            reply = one.map_err(|failed| vec![failed])?;
        }
    }
}

/// Whether more pages of a list are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    GoOn,
    Enough,
    TooMany,
}

/// Returns whether more than `count` tags are read, where `n` are wanted; of a list that begins with the first though
/// it was to go on behind another, all are needed.
fn progress(count: usize, n: Option<usize>, needs_all: bool) -> Progress {
    match (needs_all, n) {
        (true, _) if count >= MOST => Progress::TooMany,
        (true, _) => Progress::GoOn,
        (false, Some(n)) if count >= n => Progress::Enough,
        (false, _) if count >= TAGS => Progress::Enough,
        (false, _) => Progress::GoOn,
    }
}

/// Returns whether an endpoint does not know what it was asked for, rather than failing.
fn is_unknown(failed: &EndpointError) -> bool {
    let EndpointError::Asked(ClientError { cause, .. }) = failed else { return false };
    matches!(
        cause,
        RequestError::NotFound(_)
            | RequestError::Status { status: 400..=499 | 501, .. }
            | RequestError::Answer(_)
    )
}

/// Returns the query of the next page's URL, which is all that counts of it: the path is the same, and another host
/// is nothing to go to.
fn query_of(link: &str) -> Vec<(String, String)> {
    let base = Url::parse("https://registry.invalid/");
    let url = base.and_then(|base| base.join(link));
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

fn referrers_of(body: &[u8]) -> Option<Vec<Value>> {
    let mut index: Value = serde_json::from_slice(body).ok()?;
    match index.get_mut("manifests")?.take() {
        Value::Array(manifests) => Some(manifests),
        _ => None,
    }
}

/// Makes one index of all pages.
fn joined(pages: &[Bytes]) -> Option<Bytes> {
    let mut index: Value = serde_json::from_slice(pages.first()?).ok()?;
    let all = pages.iter().map(|page| referrers_of(page)).collect::<Option<Vec<_>>>()?;
    *index.get_mut("manifests")? = Value::Array(all.into_iter().flatten().collect());
    serde_json::to_vec(&index).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_query_of_a_link_counts() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (link, want) in [
            ("/v2/a/tags/list?n=2&last=x%2By", vec![pair("n", "2"), pair("last", "x+y")]),
            ("https://evil.test/x?last=y", vec![pair("last", "y")]),
            ("?last=y", vec![pair("last", "y")]),
            ("/v2/", vec![]),
        ] {
            assert_eq!(query_of(link), want, "{link}");
        }
    }

    #[test]
    fn lists_have_an_end() {
        for (count, n, needs_all, want) in [
            (10, Some(20), false, Progress::GoOn),
            (20, Some(20), false, Progress::Enough),
            (20, None, false, Progress::GoOn),
            (TAGS, None, false, Progress::Enough),
            (TAGS, Some(usize::MAX), false, Progress::Enough),
            (TAGS, Some(20), true, Progress::GoOn),
            (MOST, Some(20), true, Progress::TooMany),
            (MOST, None, true, Progress::TooMany),
        ] {
            assert_eq!(progress(count, n, needs_all), want, "{count} {n:?} {needs_all}");
        }
    }

    #[test]
    fn pages_become_one_index() {
        let page = |text: &'static str| Bytes::from(text);
        let pages = [
            page(r#"{"schemaVersion":2,"manifests":[{"size":1}],"x":1}"#),
            page(r#"{"manifests":[{"size":2}]}"#),
        ];
        let one = joined(&pages).unwrap();
        assert_eq!(one, r#"{"schemaVersion":2,"manifests":[{"size":1},{"size":2}],"x":1}"#);
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&[page("{}")]), None);
    }
}
