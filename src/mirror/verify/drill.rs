use super::finding::Finding;

/// Images that nothing serves while a mirror is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    /// The mirror, by name.
    pub mirror: String,
    /// Images that have no other host at all.
    pub without_a_way: Vec<String>,
    /// Images whose other hosts do not serve them either.
    pub without_a_working_way: Vec<String>,
    /// How many images still have one.
    pub served: usize,
}

/// Returns, for each mirror, what would happen to the images that go through it if it were down.
pub fn drill(findings: &[Finding]) -> Vec<Stranded> {
    let mut mirrors: Vec<&str> = findings.iter().map(|finding| finding.via.as_str()).collect();
    mirrors.retain(|via| *via != "upstream");
    mirrors.sort_unstable();
    mirrors.dedup();
    let stranded = |mirror: &&str| {
        let mut out = Stranded {
            mirror: (*mirror).to_owned(),
            without_a_way: Vec::new(),
            without_a_working_way: Vec::new(),
            served: 0,
        };
        let mut images: Vec<(&str, Option<&str>)> = findings
            .iter()
            .filter(|finding| finding.via == **mirror)
            .map(|finding| (finding.image.as_str(), finding.node.as_deref()))
            .collect();
        images.dedup();
        for (image, node) in images {
            let others = findings.iter().filter(|finding| {
                finding.image == image && finding.node.as_deref() == node && finding.via != **mirror
            });
            let others: Vec<bool> = others.map(Finding::is_ok).collect();
            if others.is_empty() {
                out.without_a_way.push(image.to_owned());
            } else if others.contains(&true) {
                out.served += 1;
            } else {
                out.without_a_working_way.push(image.to_owned());
            }
        }
        out
    };
    mirrors.iter().map(stranded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::cause::Cause;

    #[test]
    fn what_a_mirror_that_is_down_leaves() {
        let finding = |image: &str, via: &str, cause| Finding {
            image: image.to_owned(),
            node: None,
            via: via.to_owned(),
            hop: 1,
            url: String::new(),
            cause,
            evidence: String::new(),
        };
        let findings = [
            finding("a:1", "harbor", None),
            finding("a:1", "upstream", None),
            finding("b:1", "harbor", None),
            finding("c:1", "harbor", Some(Cause::ServerFails)),
            finding("c:1", "upstream", Some(Cause::ImageMissing)),
        ];
        let [harbor] = drill(&findings).try_into().unwrap();
        assert_eq!((harbor.without_a_way, harbor.served), (vec!["b:1".to_owned()], 1));
        assert_eq!(harbor.without_a_working_way, ["c:1"]);
    }
}
