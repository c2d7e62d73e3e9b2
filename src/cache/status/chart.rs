use super::html::Html;
use super::layout::size;
use super::view::Slot;

/// The size of a chart in its own units.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 120;
/// What the charts are called.
const RATIO: &str = "Objects from the store, of a hundred";
const BYTES: &str = "Bytes to clients, and from upstream registries in front";

/// Draws how many of a hundred objects came from the store, slot by slot.
pub(super) fn hit_ratio(html: &mut Html, slots: &[Slot]) {
    begin(html, RATIO);
    let width = WIDTH / (slots.len().max(1) as u64);
    for (at, slot) in (0..).zip(slots) {
        if let Some(percent) = slot.hit_percent {
            // Nothing from the store is a line, too: something was asked for.
            bar(html, "hit", at * width, width, (percent * HEIGHT / 100).max(2));
        }
    }
    end(html, RATIO, "100 %".to_owned());
}

/// Draws how much was sent to clients, and in front of it how much was received for that.
pub(super) fn bytes(html: &mut Html, slots: &[Slot]) {
    let most = slots.iter().flat_map(|slot| [slot.traffic.sent_bytes, slot.traffic.received_bytes]).max();
    let most = most.unwrap_or_default().max(1);
    begin(html, BYTES);
    let width = WIDTH / (slots.len().max(1) as u64);
    let height = |bytes: u64| {
        let scaled = u128::from(bytes) * u128::from(HEIGHT) / u128::from(most);
        u64::try_from(scaled).unwrap_or(HEIGHT)
    };
    for (at, slot) in (0..).zip(slots) {
        bar(html, "sent", at * width, width, height(slot.traffic.sent_bytes));
        let half = width.div_ceil(2);
        bar(html, "received", at * width + (width - half), half, height(slot.traffic.received_bytes));
    }
    end(html, BYTES, size(most));
}

fn begin(html: &mut Html, title: &'static str) {
    html.raw("<figure><svg viewBox=\"0 0 720 120\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
    html.raw(title).raw("\"><title>").raw(title).raw("</title>");
}

fn end(html: &mut Html, title: &'static str, most: String) {
    html.raw("<line x1=\"0\" y1=\"119.5\" x2=\"720\" y2=\"119.5\"/></svg><figcaption>")
        .raw(title)
        .raw(". The top is ")
        .text(most);
    html.raw("</figcaption></figure>\n");
}

fn bar(html: &mut Html, class: &'static str, x: u64, width: u64, height: u64) {
    if height == 0 {
        return;
    }
    html.raw("<rect class=\"")
        .raw(class)
        .raw("\" x=\"")
        .text(x)
        .raw("\" y=\"")
        .text(HEIGHT - height.min(HEIGHT));
    html.raw("\" width=\"").text(width.saturating_sub(1).max(1)).raw("\" height=\"").text(height).raw("\"/>");
}
