use super::model::{Fallback, Inventory, MirrorKind, Via};
use super::resolve::Route;
use super::verification::Reach;
use crate::finding::{Code, Problems};

/// Finds mirrors that may lose the signatures that rules want, where there is no way around them.
pub(super) fn check_signatures(
    inventory: &Inventory,
    registry: &str,
    route: &Route<'_>,
    problems: &mut Problems<'_>,
) {
    if route.fallback != Fallback::Never {
        return;
    }
    let mut wanted = None;
    for rule in &inventory.verification {
        match rule.reach(registry) {
            Reach::Nothing => {}
            Reach::Something | Reach::Everything if rule.method.wants_signatures() => {
                wanted = Some(rule);
                break;
            }
            Reach::Something => {}
            Reach::Everything => break,
        }
    }
    let Some(rule) = wanted else { return };
    for via in route.via {
        let Via::Mirror(name) = via else { continue };
        let Some(mirror) = inventory.mirrors.get(name) else { continue };
        let loses = match mirror.kind {
            MirrorKind::Harbor { .. } => "Harbor passes referrers on from 2.16",
            MirrorKind::Plain => "distribution passes no referrers on up to 3.1.2",
            MirrorKind::Path { .. } | MirrorKind::Cache | MirrorKind::Raw { .. } => continue,
        };
        let message = format!(
            "`{registry}` has no fallback, and `{name}` may lose the signatures that the rule `{}` wants",
            rule.image
        );
        let path = format!("registries.{registry}");
        let problem = problems.add(Code::LosesSignatures, route.span, path, message);
        problem.reason = Some(format!("Talos looks them up through the mirrors; {loses}"));
        problem.help =
            Some("see what it passes on: talmirror verify IMAGE; or use `fallback: upstream`".to_owned());
    }
}
