/// What one control plane node says of etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// The node's own member.
    pub member: u64,
    /// The leader as that member sees it; 0 where it sees none.
    pub leader: u64,
    /// Whether the member has no vote yet.
    pub learner: bool,
    /// How far the log is.
    pub raft_index: u64,
    /// How far the member has followed it.
    pub raft_applied_index: u64,
    /// What etcd itself complains about.
    pub errors: Vec<String>,
    /// All members, as the cluster knows them.
    pub members: Vec<EtcdMember>,
    /// Alarms by member, such as `NOSPACE`.
    pub alarms: Vec<(u64, String)>,
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its number.
    pub id: u64,
    /// Its node's name.
    pub hostname: String,
    /// Whether it has no vote yet.
    pub learner: bool,
}

impl Etcd {
    /// Returns why no control plane node should be touched now; empty where nothing speaks against it.
    ///
    /// Whether a quorum is left without a node is for the caller to say: it takes the answers of all of them.
    pub fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        if self.leader == 0 {
            flaws.push("etcd has no leader".to_owned());
        } else if !self.members.is_empty() && !self.members.iter().any(|member| member.id == self.leader) {
            flaws.push("etcd's leader is not among its members".to_owned());
        }
        if self.learner {
            flaws.push("its etcd member is still a learner".to_owned());
        }
        let learners = self.members.iter().filter(|member| member.learner && member.id != self.member);
        flaws.extend(learners.map(|member| format!("etcd's member {} is still a learner", member.hostname)));
        flaws.extend(self.errors.iter().map(|error| format!("etcd reports {error}")));
        flaws.extend(self.alarms.iter().map(|(id, alarm)| {
            let name = self.members.iter().find(|member| member.id == *id);
            let name = name.map_or_else(|| format!("{id:x}"), |member| member.hostname.clone());
            format!("etcd's alarm {alarm} is raised on {name}")
        }));
        flaws
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_touching_a_node_is_named() {
        let member = |id: u64, learner| EtcdMember { id, hostname: format!("n{id}"), learner };
        let well = Etcd {
            member: 1,
            leader: 2,
            members: vec![member(1, false), member(2, false)],
            ..Etcd::default()
        };
        assert!(well.flaws().is_empty());
        assert_eq!(Etcd { leader: 0, ..well.clone() }.flaws(), ["etcd has no leader"]);
        assert_eq!(Etcd { leader: 7, ..well.clone() }.flaws(), ["etcd's leader is not among its members"]);
        let ill = Etcd {
            learner: true,
            members: vec![member(1, true), member(2, true)],
            errors: vec!["lag".to_owned()],
            alarms: vec![(2, "NOSPACE".to_owned()), (10, "CORRUPT".to_owned())],
            ..well
        };
        assert_eq!(
            ill.flaws(),
            [
                "its etcd member is still a learner",
                "etcd's member n2 is still a learner",
                "etcd reports lag",
                "etcd's alarm NOSPACE is raised on n2",
                "etcd's alarm CORRUPT is raised on a"
            ]
        );
    }
}
