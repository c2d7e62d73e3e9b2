use super::finding::Finding;

/// Images that nothing serves while a mirror is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    /// The mirror, by name.
    pub mirror: String,
    /// Images that have no other host at all.
    pub without_a_way: Vec<Lost>,
    /// Images whose other hosts do not serve them either.
    pub without_a_working_way: Vec<Lost>,
    /// How many images still have one.
    pub served: usize,
}

/// An image that is not served any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The image.
    pub image: String,
    /// The nodes that lose it; empty where all lose it that pull it through the mirror.
    pub nodes: Vec<String>,
}

/// Returns, for each mirror, what would happen to the images that go through it if it were down.
pub fn drill(findings: &[Finding]) -> Vec<Stranded> {
    // What nodes say of themselves is not a host of a pull.
    let findings: Vec<&Finding> = findings.iter().filter(|finding| finding.hop > 0).collect();
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
        let mut images: Vec<&str> = Vec::new();
        for finding in findings.iter().filter(|finding| finding.via == **mirror) {
            if !images.contains(&finding.image.as_str()) {
                images.push(&finding.image);
            }
        }
        for image in images {
            let of_image: Vec<&Finding> =
                findings.iter().copied().filter(|finding| finding.image == image).collect();
            let [no_way, no_working_way, asking] = ways(&of_image, mirror);
            let lost = |nodes: Vec<&str>| {
                let all = nodes.len() == asking.len();
                let nodes = if all { Vec::new() } else { nodes.into_iter().map(str::to_owned).collect() };
                Lost { image: image.to_owned(), nodes }
            };
            if no_way.is_empty() && no_working_way.is_empty() {
                out.served += 1;
            }
            if !no_way.is_empty() {
                out.without_a_way.push(lost(no_way));
            }
            if !no_working_way.is_empty() {
                out.without_a_working_way.push(lost(no_working_way));
            }
        }
        out
    };
    mirrors.iter().map(stranded).collect()
}

/// Returns, of the nodes that pull an image through a mirror, those without another host, those without another host
/// that works, and all of them; where the inventory names no node, one without a name stands for all.
fn ways<'a>(of_image: &[&'a Finding], mirror: &str) -> [Vec<&'a str>; 3] {
    let mut nodes: Vec<&str> =
        of_image.iter().flat_map(|finding| &finding.nodes).map(String::as_str).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.is_empty() {
        nodes.push("");
    }
    let mut out = [Vec::new(), Vec::new(), Vec::new()];
    let [no_way, no_working_way, asking] = &mut out;
    for node in nodes {
        let asks = |finding: &&&Finding| node.is_empty() || finding.nodes.iter().any(|name| name == node);
        let (through, others): (Vec<&Finding>, Vec<&Finding>) =
            of_image.iter().filter(asks).partition(|finding| finding.via == mirror);
        if through.is_empty() {
            continue;
        }
        asking.push(node);
        if others.is_empty() {
            no_way.push(node);
        } else if !others.iter().any(|finding| finding.is_ok()) {
            no_working_way.push(node);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::cause::Cause;

    #[test]
    fn what_a_mirror_that_is_down_leaves() {
        let finding = |image: &str, via: &str, cause, nodes: &[&str]| Finding {
            image: image.to_owned(),
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            via: via.to_owned(),
            hop: 1,
            url: String::new(),
            cause,
            evidence: String::new(),
        };
        let lost = |image: &str, nodes: &[&str]| Lost {
            image: image.to_owned(),
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        };
        let findings = [
            finding("a:1", "harbor", None, &[]),
            finding("a:1", "upstream", None, &[]),
            finding("b:1", "harbor", None, &[]),
            finding("c:1", "harbor", Some(Cause::ServerFails), &[]),
            finding("c:1", "upstream", Some(Cause::ImageMissing), &[]),
        ];
        let [harbor] = drill(&findings).try_into().unwrap();
        assert_eq!((harbor.without_a_way, harbor.served), (vec![lost("b:1", &[])], 1));
        assert_eq!(harbor.without_a_working_way, [lost("c:1", &[])]);
        // Nodes have hosts of their own.
        let findings = [
            finding("a:1", "harbor", None, &["n1", "n2", "n3"]),
            finding("a:1", "upstream", None, &["n1"]),
            finding("a:1", "upstream", Some(Cause::CredentialsRejected), &["n3"]),
            finding("a:1", "spare", None, &["n4"]),
        ];
        let [harbor, spare] = drill(&findings).try_into().unwrap();
        assert_eq!((harbor.without_a_way, harbor.served), (vec![lost("a:1", &["n2"])], 0));
        assert_eq!(harbor.without_a_working_way, [lost("a:1", &["n3"])]);
        assert_eq!(spare.without_a_way, [lost("a:1", &[])]);
    }
}
