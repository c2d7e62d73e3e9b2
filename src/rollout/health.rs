use crate::talos::{Etcd, MachineStatus, Service};

/// Services without which no image is pulled and no pod runs.
const SERVICES: [&str; 2] = ["cri", "kubelet"];

/// Returns what speaks against a node: its stage, and services that are not well. Nothing: it is well.
pub fn node_flaws(status: Option<&MachineStatus>, services: &[Service]) -> Vec<String> {
    let mut flaws = Vec::new();
    match status {
        None => flaws.push("it does not say what it is doing".to_owned()),
        Some(status) if status.stage != "running" => flaws.push(format!("it is {}", status.stage)),
        Some(status) if !status.ready => {
            let unmet = status.unmet.iter().map(|(name, reason)| format!("{name}: {reason}"));
            let unmet = unmet.collect::<Vec<_>>().join(", ");
            flaws.push(if unmet.is_empty() {
                "it is not ready".to_owned()
            } else {
                format!("it is not ready ({unmet})")
            });
        }
        Some(_) => {}
    }
    for id in SERVICES {
        match services.iter().find(|service| service.id == id) {
            None => flaws.push(format!("it has no service {id}")),
            Some(service) if service.state != "Running" => {
                flaws.push(format!("its service {id} is {}", service.state));
            }
            Some(Service { healthy: Some(false), .. }) => {
                flaws.push(format!("its service {id} is not healthy"));
            }
            Some(_) => {}
        }
    }
    flaws
}

/// Whether a control plane node is about to be without etcd for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It reboots.
    Reboots,
    /// It stays.
    Stays,
}

/// Returns what speaks against touching a control plane node; each answer is a control plane node's.
///
/// A node that reboots must leave a quorum of well members behind it; a cluster of one member has none to lose. Nodes that
/// `may_be_down` are not spoken against, as long as the others are a quorum.
pub fn etcd_flaws(
    answers: &[(String, Result<Etcd, String>)],
    absence: Absence,
    may_be_down: &[&str],
) -> Vec<String> {
    let mut flaws = Vec::new();
    let (mut down, mut is_short) = (Vec::new(), false);
    let (mut well, mut members) = (0, 0);
    for (name, answer) in answers {
        let is_allowed = may_be_down.contains(&name.as_str());
        match answer {
            Err(_) if is_allowed => is_short = true,
            Err(error) => down.push((name, error)),
            Ok(etcd) => {
                let own = etcd.flaws();
                well += usize::from(own.is_empty());
                members = members.max(etcd.members.iter().filter(|member| !member.learner).count());
                is_short |= is_allowed && !own.is_empty();
                let own = own.into_iter().filter(|_| !is_allowed);
                flaws.extend(own.map(|flaw| format!("{name}: {flaw}")));
            }
        }
    }
    let quorum = members / 2 + 1;
    let stay = match absence {
        Absence::Reboots => well.saturating_sub(1),
        Absence::Stays => well,
    };
    let leaders = answers.iter().filter_map(|(_, answer)| Some(answer.as_ref().ok()?.leader));
    let mut leaders: Vec<u64> = leaders.filter(|leader| *leader != 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let is_split = leaders.len() > 1;
    let is_well_else = flaws.is_empty() && !is_split && members > 1 && stay >= quorum;
    for (name, error) in down {
        let way = if is_well_else {
            format!(" (--allow-unhealthy {name} goes on without it: the others are a quorum)")
        } else {
            String::new()
        };
        flaws.push(format!("etcd on {name} does not answer: {error}{way}"));
    }
    if is_split {
        flaws.push("etcd's members do not agree on their leader".to_owned());
    }
    if members == 0 && is_short {
        flaws.push(
            "no control plane node tells etcd's members: whether the others are a quorum is not known"
                .to_owned(),
        );
    }
    if members > 1 && stay < quorum && (absence == Absence::Reboots || is_short) {
        flaws.push(short_of_quorum(well, members));
    }
    flaws
}

/// Returns why no control plane node can reboot as long as so many are `down`, however well the others are.
pub(super) fn reboot_obstacle(voters: usize, down: usize) -> Option<String> {
    let well = voters.saturating_sub(down);
    let is_short = voters > 1 && well.saturating_sub(1) < voters / 2 + 1;
    is_short.then(|| short_of_quorum(well, voters))
}

fn short_of_quorum(well: usize, members: usize) -> String {
    format!("etcd would lose its quorum: {well} of {members} members are known to be well")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talos::EtcdMember;

    fn service(id: &str, state: &str, healthy: Option<bool>) -> Service {
        Service { id: id.to_owned(), state: state.to_owned(), healthy }
    }

    #[test]
    fn a_node_is_well_when_it_runs_and_its_services_do() {
        let status = |stage: &str, ready| MachineStatus { stage: stage.to_owned(), ready, unmet: Vec::new() };
        let services = [service("cri", "Running", Some(true)), service("kubelet", "Running", None)];
        assert!(node_flaws(Some(&status("running", true)), &services).is_empty());
        assert_eq!(node_flaws(Some(&status("booting", true)), &services), ["it is booting"]);
        assert_eq!(node_flaws(None, &services[..1]).len(), 2);
        let unmet = vec![("services".to_owned(), "kubelet".to_owned())];
        let unready = MachineStatus { unmet, ..status("running", false) };
        let ill = [service("cri", "Running", Some(false)), service("kubelet", "Waiting", None)];
        assert_eq!(
            node_flaws(Some(&unready), &ill),
            [
                "it is not ready (services: kubelet)",
                "its service cri is not healthy",
                "its service kubelet is Waiting"
            ]
        );
    }

    #[test]
    fn one_of_two_members_can_never_reboot() {
        assert_eq!([0, 1, 3, 5].map(|voters| reboot_obstacle(voters, 0)), [None, None, None, None]);
        let short =
            |text: &str| Some(format!("etcd would lose its quorum: {text} members are known to be well"));
        assert_eq!(reboot_obstacle(2, 0), short("2 of 2"));
        assert_eq!((reboot_obstacle(3, 1), reboot_obstacle(5, 1)), (short("2 of 3"), None));
    }

    #[test]
    fn control_plane_nodes_go_when_etcd_is_well() {
        let members = [1, 2, 3].map(|id| EtcdMember { id, hostname: format!("c{id}"), learner: false });
        let etcd = |member| Etcd { member, leader: 1, members: members.to_vec(), ..Etcd::default() };
        let all = [1, 2, 3].map(|id| (format!("c{id}"), Ok(etcd(id))));
        assert!(etcd_flaws(&all, Absence::Reboots, &[]).is_empty());
        assert!(etcd_flaws(&all[..2], Absence::Stays, &[]).is_empty());
        assert_eq!(
            etcd_flaws(&all[..2], Absence::Reboots, &[]),
            ["etcd would lose its quorum: 2 of 3 members are known to be well"]
        );
        let mut split = all.clone();
        split[1].1 = Ok(Etcd { leader: 2, ..etcd(2) });
        split[2].1 = Err("no answer".to_owned());
        assert_eq!(
            etcd_flaws(&split, Absence::Stays, &[]),
            ["etcd on c3 does not answer: no answer", "etcd's members do not agree on their leader"]
        );
        let one = [("c1".to_owned(), Ok(Etcd { members: members[..1].to_vec(), ..etcd(1) }))];
        assert!(etcd_flaws(&one, Absence::Reboots, &[]).is_empty());
        // One that is known to be down, and two that are.
        let mut down = all.clone();
        down[2].1 = Err("no answer".to_owned());
        let told = etcd_flaws(&down, Absence::Stays, &[]);
        assert!(told[0].contains("no answer (--allow-unhealthy c3 goes on without it"), "{told:?}");
        assert!(etcd_flaws(&down, Absence::Stays, &["c3"]).is_empty());
        let short = "etcd would lose its quorum: 2 of 3 members are known to be well";
        assert_eq!(etcd_flaws(&down, Absence::Reboots, &["c3"]), [short]);
        down[1].1 = Err("no answer".to_owned());
        let short = "etcd would lose its quorum: 1 of 3 members are known to be well";
        assert_eq!(etcd_flaws(&down, Absence::Stays, &["c2", "c3"]), [short]);
        // Where the only one that is asked may be down, nothing says that the others are a quorum.
        let unknown = etcd_flaws(&down[2..], Absence::Stays, &["c3"]);
        assert!(unknown.len() == 1 && unknown[0].contains("is not known"), "{unknown:?}");
    }
}
