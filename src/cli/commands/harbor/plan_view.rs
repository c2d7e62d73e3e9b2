//! A plan as people see it.

use serde_json::{Value, json};

use super::connection::Connection;
use crate::harbor::{Actual, Change, ChangeView, Notice, Plan, Weight};
use crate::ui::table;

/// Returns the lines of a plan: what is changed, what is to be known, how much it is.
pub(super) fn text(connection: &Connection, actual: &Actual, plan: &Plan) -> String {
    let mut out = head(connection, actual);
    let rows: Vec<Vec<String>> = plan.changes.iter().map(|change| row(&change.view())).collect();
    for line in table(&rows).lines() {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str(&notices(plan));
    out.push_str(&format!("{}\n", summary(plan)));
    out
}

fn head(connection: &Connection, actual: &Actual) -> String {
    format!("harbor {}   Harbor {}   as {}\n", connection.url(), actual.version, connection.harbor.user())
}

/// Returns what a plan says beside its changes.
pub(super) fn notices(plan: &Plan) -> String {
    plan.notices.iter().map(notice).collect()
}

fn notice(notice: &Notice) -> String {
    let Notice { weight, object, message, help } = notice;
    let help = help.as_ref().map(|help| format!("      help: {help}\n")).unwrap_or_default();
    format!("  {}: {object}: {message}\n{help}", weight.as_str())
}

fn row(view: &ChangeView) -> Vec<String> {
    let reason = view.reason.as_ref().map(|reason| format!("  # {reason}")).unwrap_or_default();
    vec![
        format!("{} {}", view.action.sign(), view.object),
        view.name.clone(),
        format!("{}{reason}", view.details.join(", ")),
    ]
}

/// Returns the line of a change that was made.
pub(super) fn line(change: &Change) -> String {
    let view = change.view();
    format!("{} {} {}", view.action.sign(), view.object, view.name)
}

/// Returns how much there is to do.
pub(super) fn summary(plan: &Plan) -> String {
    let (create, update, delete) = plan.counts();
    let blocked = plan.blocked().count();
    let blocked = if blocked == 0 { String::new() } else { format!("; {blocked} blocked") };
    if plan.changes.is_empty() {
        return format!("nothing to do{blocked}");
    }
    format!("{create} to create, {update} to change, {delete} to delete{blocked}")
}

/// Returns the plan for scripts.
pub(super) fn object(connection: &Connection, actual: &Actual, plan: &Plan) -> Value {
    let mut value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "HarborPlan",
        "mirror": connection.name,
        "url": connection.url(),
        "version": actual.version.to_string(),
        "user": connection.harbor.user(),
        "settled": plan.is_settled(),
    });
    if let (Value::Object(value), Value::Object(plan)) = (&mut value, plan.to_json()) {
        value.extend(plan);
    }
    value
}

/// Returns the plan as a comment on a pull request shows it.
pub(super) fn markdown(connection: &Connection, actual: &Actual, plan: &Plan) -> String {
    let escape = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut out = format!(
        "### Harbor {} ({})\n\n{}\n",
        escape(&connection.url()),
        actual.version,
        escape(&summary(plan))
    );
    if !plan.changes.is_empty() {
        out.push_str("\n|   | object | name | what | why |\n|---|---|---|---|---|\n");
    }
    for change in &plan.changes {
        let view = change.view();
        out.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            view.action.sign(),
            view.object,
            escape(&view.name),
            escape(&view.details.join(", ")),
            escape(view.reason.as_deref().unwrap_or_default()),
        ));
    }
    if !plan.notices.is_empty() {
        out.push('\n');
    }
    for notice in &plan.notices {
        let weight = match notice.weight {
            Weight::Blocked => "**blocked**",
            Weight::Warning => "**warning**",
            Weight::Note => "note",
        };
        let help = notice.help.as_ref().map(|help| format!(" ({})", escape(help))).unwrap_or_default();
        out.push_str(&format!("- {weight}: {}: {}{help}\n", escape(&notice.object), escape(&notice.message)));
    }
    out
}
