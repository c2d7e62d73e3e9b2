use super::bucket::{BucketConfig, bucket_age};
use super::fields::BUCKET;
use super::read::Reader;
use super::redirect::redirect_expiry;
use super::size::SizeError;
use super::value::upstream_url;
use crate::finding::Fields;

impl Reader<'_, '_> {
    pub(super) fn bucket(&mut self, fields: &Fields<'_>) -> Option<BucketConfig> {
        let node = fields.get("bucket")?;
        let fields = self.decoder.fields(node, "bucket", BUCKET);
        if fields.get("url").is_none() {
            self.decoder.missing(&fields, "url", "s3://NAME/PREFIX");
        }
        let address = self.parsed(&fields, "url", str::parse);
        let endpoint = self.parsed(&fields, "endpoint", upstream_url);
        let path_style = self.decoder.boolean(&fields, "pathStyle").unwrap_or(false);
        let region = self.decoder.string(&fields, "region");
        let ca = self.path(&fields, "ca");
        let instance_metadata = self.decoder.boolean(&fields, "instanceMetadata").unwrap_or(false);
        let encryption = self.parsed(&fields, "encryption", str::parse);
        let max_age = self.parsed(&fields, "maxAge", bucket_age);
        let max_size = self
            .parsed(&fields, "maxSize", |text| text.parse().map_err(|error: SizeError| error.to_string()));
        let redirect_endpoint = self.parsed(&fields, "redirectEndpoint", upstream_url);
        let redirect_expiry = self.parsed(&fields, "redirectExpiry", redirect_expiry);
        Some(BucketConfig {
            endpoint,
            path_style,
            region,
            ca,
            instance_metadata,
            encryption,
            max_age,
            max_size,
            redirect_endpoint,
            redirect_expiry,
            ..BucketConfig::new(address?)
        })
    }
}
