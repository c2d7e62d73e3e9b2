use super::fields::REDIRECT;
use super::model::Config;
use super::read::Reader;
use super::redirect::Redirect;
use super::value::network;
use crate::finding::{Code, Fields, join};

impl Reader<'_, '_> {
    /// Reads which clients are sent to the bucket for the blobs of an upstream: all, none, or those of some networks.
    pub(super) fn redirect(&mut self, fields: &Fields<'_>, path: &str) -> Redirect {
        let Some(node) = fields.get("redirect") else { return Redirect::Never };
        if !node.is_mapping() {
            return match self.decoder.boolean(fields, "redirect") {
                Some(true) => Redirect::Everyone,
                Some(false) | None => Redirect::Never,
            };
        }
        let own = self.decoder.fields(node, &join(path, "redirect"), REDIRECT);
        let Some(clients) = own.get("clients") else {
            self.decoder.missing(&own, "clients", "networks of clients, such as 10.0.0.0/8");
            return Redirect::Never;
        };
        let texts = self.decoder.strings(&own, "clients").unwrap_or_default();
        if texts.is_empty() && clients.is_sequence() {
            let message = "`clients` names no network";
            let problem =
                self.decoder.problems.add(Code::WrongType, &clients.span, own.at("clients"), message);
            problem.help = Some("write `redirect: true` for all clients".to_owned());
        }
        Redirect::Clients(self.each(texts, &own.at("clients"), network))
    }

    /// Finds what is to be redirected and is not, and what everyone on the way can read.
    pub(super) fn check_redirects(&mut self, config: &Config, fields: &Fields<'_>) {
        let Some(upstreams) = fields.get("upstreams") else { return };
        for (host, why) in config.never_redirected() {
            let Some(entry) = upstreams.entry(host.as_str()) else { continue };
            let message = format!("no client is sent to the bucket for what comes from {host}: {why}");
            let path = join("upstreams", host.as_str());
            let problem = self.decoder.problems.add(Code::NeverRedirected, &entry.key_span, path, message);
            problem.help = Some("remove `redirect`: its blobs come through the cache".to_owned());
        }
        let is_redirected = config.redirected().next().is_some();
        let plain = config.bucket.as_ref().and_then(|bucket| bucket.plain_redirect());
        if let (true, Some(_), Some(node)) = (is_redirected, plain, fields.get("bucket")) {
            let message = "clients are sent to the bucket over plain http";
            let problem =
                self.decoder.problems.add(Code::PlainHttpCredentials, &node.span, "bucket", message);
            problem.reason = Some("who reads an address on the way can use it until it expires".to_owned());
            problem.help = Some("write `redirectEndpoint: https://…`, if it has one".to_owned());
        }
    }
}
