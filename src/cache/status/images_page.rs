use url::form_urlencoded;

use super::html::Html;
use super::layout::{Page, end_table, nothing, page, search_form, size, table, time};
use super::view::{Images, PAGE};

/// Writes the page of what is cached.
pub(super) fn images_page(images: &Images) -> String {
    page(Page::Images, images.version, |html| {
        html.raw("<h1>Images</h1>\n");
        search_form(html, &images.query);
        html.raw("<div id=\"live\">\n");
        html.raw("<p role=\"status\">");
        if images.query.trim().is_empty() {
            html.text(images.total).raw(" images");
        } else {
            html.text(images.found).raw(" of ").text(images.total).raw(" images");
        }
        if images.hidden > 0 {
            html.raw("; private ones that are not shown: ").text(images.hidden);
            html.raw(" (<code>talmirror-cache ls</code> shows them)");
        }
        html.raw(". <a href=\"/images.json?").text(address(images, images.from)).raw("\">JSON</a></p>\n");
        list(html, images);
        html.raw("</div>\n");
    })
}

fn list(html: &mut Html, images: &Images) {
    if images.items.is_empty() {
        nothing(html, "No image is stored that fits.");
    } else {
        table(html, "What is cached", &["Image", "Stored", "State", "Checked", "Digest"]);
        for image in &images.items {
            html.raw("<tr><th scope=\"row\">")
                .text(&image.image)
                .raw("</th><td>")
                .text(size(image.stored_bytes));
            match image.missing {
                0 => html.raw("</td><td class=\"good\">complete"),
                missing => html.raw("</td><td>").text(missing).raw(" parts not stored"),
            };
            html.raw("</td><td>");
            time(html, image.checked_at);
            html.raw("</td><td><code>").text(&image.digest).raw("</code></td></tr>\n");
        }
        end_table(html);
    }
    let (before, after) = (images.from > 0, images.from.saturating_add(PAGE) < images.found);
    if before || after {
        html.raw("<nav aria-label=\"More images\"><p>");
        if before {
            html.raw("<a rel=\"prev\" href=\"/images?")
                .text(address(images, images.from.saturating_sub(PAGE)));
            html.raw("\">Earlier images</a> ");
        }
        if after {
            html.raw("<a rel=\"next\" href=\"/images?")
                .text(address(images, images.from.saturating_add(PAGE)));
            html.raw("\">Later images</a>");
        }
        html.raw("</p></nav>\n");
    }
}

/// Returns the query of an address of this list.
fn address(images: &Images, from: usize) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("q", &images.query);
    if from > 0 {
        query.append_pair("from", &from.to_string());
    }
    query.finish()
}
