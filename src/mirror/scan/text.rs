use super::images::{Certainty, Images};

/// Finds the images of a plain text: a list with one a line, `image: …` as `kubectl … -o yaml | grep` gives, or a table
/// of images as docker, crictl and talosctl print.
pub(super) fn read_text(text: &str, source: &str, images: &mut Images) {
    let mut columns = None;
    for line in text.lines() {
        let line = line.trim();
        // What a template will put there is not known.
        if line.is_empty() || line.starts_with('#') || line.contains("{{") {
            continue;
        }
        if let Some(header) = Columns::of_header(line) {
            columns = Some(header);
            continue;
        }
        let line = line.strip_prefix("- ").unwrap_or(line).trim();
        if let Some((key, value)) = line.split_once(": ")
            && key.trim().trim_matches('"').to_ascii_lowercase().ends_with("image")
        {
            images.add(word(value), source, Certainty::Image);
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&columns, words.as_slice()) {
            (Some(columns), words) => {
                if let Some(image) = columns.image(words) {
                    images.add(&image, source, Certainty::Perhaps);
                }
            }
            (None, [only]) => images.add(word(only), source, Certainty::Image),
            (None, words) => {
                for text in words {
                    images.add(word(text), source, Certainty::Perhaps);
                }
            }
        }
    }
}

/// Takes a word out of what stands around it: quotes, commas, a comment.
fn word(text: &str) -> &str {
    let text = text.split(" #").next().unwrap_or_default().trim();
    text.trim_matches(|c| matches!(c, '"' | '\'' | ',' | '[' | ']'))
}

/// Which columns of a table hold an image.
struct Columns {
    name: usize,
    tag: Option<usize>,
}

impl Columns {
    fn of_header(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |names: &[&str]| words.iter().position(|word| names.contains(word));
        let name = at(&["REPOSITORY", "IMAGE", "REF", "Image"])?;
        (words.len() > 1).then(|| Self { name, tag: at(&["TAG"]) })
    }

    fn image(&self, words: &[&str]) -> Option<String> {
        let name = words.get(self.name)?;
        match self.tag.and_then(|at| words.get(at)) {
            Some(tag) if *tag == "<none>" => None,
            Some(tag) => Some(format!("{name}:{tag}")),
            None => Some((*name).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut images = Images::default();
        read_text(text, "list", &mut images);
        images.iter().map(|(image, _)| image.to_string()).collect()
    }

    #[test]
    fn lists_and_tables() {
        let two = ["docker.io/library/nginx:1", "quay.io/a/b:2"];
        for text in [
            "nginx:1\nquay.io/a/b:2\n",
            "# two\n- nginx:1\n- \"quay.io/a/b:2\" # pinned\n",
            "image: nginx:1\n  - image: 'quay.io/a/b:2'\n",
            "    \"image\": \"nginx:1\",\n    \"image\": \"quay.io/a/b:2\"\n",
            "nginx:1 quay.io/a/b:2\n",
            "default/web nginx:1 Running\ndefault/b quay.io/a/b:2 Running\n",
            "REPOSITORY   TAG   IMAGE ID   SIZE\nnginx   1   abc   1MB\nquay.io/a/b   2   def   2MB\nx   <none>   f   1MB\n",
            "IMAGE                    TAG   IMAGE ID   SIZE\ndocker.io/library/nginx   1   abc   1MB\nquay.io/a/b   2   d   2MB\n",
            "NODE   NAMESPACE   IMAGE   DIGEST\nn1   k8s.io   docker.io/library/nginx:1   sha256:ab\nn1   k8s.io   quay.io/a/b:2   sha256:cd\n",
        ] {
            assert_eq!(found(text), two, "{text}");
        }
        assert_eq!(found(""), [""; 0]);
    }
}
