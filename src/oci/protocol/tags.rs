use serde::Deserialize;
use serde_json::json;

use crate::image::Repository;

/// The largest list of tags that is read at once.
pub const MAX_TAGS_SIZE: usize = 4 * 1024 * 1024;

/// Reads the tags of an answer to `tags/list`; `None` if it is none.
pub fn parse_tags(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        /// `null` where there are none, in some registries.
        tags: Option<Vec<String>>,
    }
    if body.len() > MAX_TAGS_SIZE {
        return None;
    }
    serde_json::from_slice::<List>(body).ok().map(|list| list.tags.unwrap_or_default())
}

/// A page of a list of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPage {
    /// The body.
    pub body: String,
    /// The `Link` header, where more follow.
    pub link: Option<String>,
}

/// Returns a page of the tags of a repository: at most `n`, after `last`, in lexical order.
///
/// `path` is the request's own, which is where the next page is; `n` = 0 is an empty page with nothing after it.
pub fn tag_page(
    path: &str,
    repository: &Repository,
    tags: &[String],
    n: Option<usize>,
    last: Option<&str>,
) -> TagPage {
    let mut sorted: Vec<&str> = tags.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let after = last.map_or(0, |last| sorted.partition_point(|tag| *tag <= last));
    let rest = sorted.get(after..).unwrap_or_default();
    let page = rest.get(..n.unwrap_or(rest.len()).min(rest.len())).unwrap_or_default();
    let link = match (n, page.last()) {
        (Some(n), Some(last)) if page.len() < rest.len() => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("n", &n.to_string()).append_pair("last", last);
            Some(format!("<{path}?{}>; rel=\"next\"", query.finish()))
        }
        _ => None,
    };
    TagPage { body: json!({ "name": repository.as_str(), "tags": page }).to_string(), link }
}

/// Returns a page of tags behind which the registry has more: the first `n` of them, in its own order, and a link to
/// what is behind the last.
pub fn tags_so_far(path: &str, repository: &Repository, tags: &[String], n: Option<usize>) -> TagPage {
    let count = n.unwrap_or(tags.len()).min(tags.len());
    let page = tags.get(..count).unwrap_or_default();
    let link = page.last().map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("n", &count.to_string()).append_pair("last", last);
        format!("<{path}?{}>; rel=\"next\"", query.finish())
    });
    TagPage { body: json!({ "name": repository.as_str(), "tags": page }).to_string(), link }
}

/// Returns where the next page is according to a `Link` header; it may be relative to the URL of this one.
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(tags: &[&str], n: Option<usize>, last: Option<&str>) -> (String, Option<String>) {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let TagPage { body, link } = tag_page("/v2/h/a/tags/list", &"a".parse().unwrap(), &tags, n, last);
        (body, link)
    }

    #[test]
    fn pages() {
        let tags = ["v2", "v10", "latest", "v1"];
        let body = |tags: &str| format!(r#"{{"name":"a","tags":[{tags}]}}"#);
        let link = |query: &str| Some(format!(r#"</v2/h/a/tags/list?{query}>; rel="next""#));
        for (n, last, want, next) in [
            (None, None, r#""latest","v1","v10","v2""#, None),
            (Some(2), None, r#""latest","v1""#, link("n=2&last=v1")),
            (Some(2), Some("v1"), r#""v10","v2""#, None),
            (Some(4), None, r#""latest","v1","v10","v2""#, None),
            (Some(9), None, r#""latest","v1","v10","v2""#, None),
            (Some(0), None, "", None),
            (None, Some("v1"), r#""v10","v2""#, None),
            (None, Some("v11"), r#""v2""#, None),
            (Some(1), Some("z"), "", None),
        ] {
            assert_eq!(page(&tags, n, last), (body(want), next), "{n:?} {last:?}");
        }
        assert_eq!(page(&[], None, None), (body(""), None));
    }

    #[test]
    fn lists_of_others() {
        assert_eq!(parse_tags(br#"{"name":"a","tags":["b","a"]}"#), Some(vec!["b".into(), "a".into()]));
        assert_eq!(parse_tags(br#"{"name":"a","tags":null}"#), Some(vec![]));
        assert_eq!(parse_tags(br#"{"errors":[]}"#), Some(vec![]));
        assert_eq!(parse_tags(br#"{"tags":[1]}"#), None);
        assert_eq!(parse_tags(b"<html>"), None);
    }

    #[test]
    fn links_of_others() {
        for (header, want) in [
            (r#"</v2/a/tags/list?last=x&n=2>; rel="next""#, Some("/v2/a/tags/list?last=x&n=2")),
            ("<https://h/x>; rel=next", Some("https://h/x")),
            (r#"</a>; rel="prev", </b,c>; title="x"; REL="last next""#, Some("/b,c")),
            (r#"</a>; rel="prev""#, None),
            ("</a>", None),
            ("rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), want, "{header}");
        }
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_list(tags in proptest::collection::btree_set("[a-c]{1,3}", 0..20), n in 1usize..5) {
            let all: Vec<String> = tags.into_iter().collect();
            let repository: Repository = "a".parse().unwrap();
            let (mut seen, mut last) = (Vec::new(), None::<String>);
            loop {
                let page = tag_page("/x", &repository, &all, Some(n), last.as_deref());
                seen.extend(parse_tags(page.body.as_bytes()).unwrap());
                let Some(link) = page.link else { break };
                let next = next_link(&link).unwrap().to_owned();
                last = next.split_once("last=").map(|(_, last)| last.to_owned());
            }
            prop_assert_eq!(seen, all);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}|[<>;,=\"a ]{0,30}|(<a>; ?rel=\"?(next|x)\"?,?){0,4}") {
            let _ = (next_link(&text), parse_tags(text.as_bytes()));
        }
    }
}
