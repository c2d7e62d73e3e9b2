use super::client::{NodeClient, Repeat, first, machine};
use super::error::TalosError;
use super::proto::machine::EtcdMemberListRequest;
use super::proto::machine::etcd_member_alarm::AlarmType;

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

impl NodeClient {
    /// Returns what a control plane node says of etcd.
    ///
    /// Workers answer [`TalosError::Unimplemented`], whatever their version.
    pub async fn etcd(&self) -> Result<Etcd, TalosError> {
        let status = self.etcd_status().await?;
        let members = self.etcd_members().await?;
        let alarms = match self.etcd_alarms().await {
            // A node that answered the rest is a control plane node whose Talos does not tell alarms.
            Err(TalosError::Unimplemented { .. }) => Vec::new(),
            answer => answer?,
        };
        Ok(Etcd { members, alarms, ..status })
    }

    /// Returns etcd's members, as the cluster knows them.
    pub async fn etcd_members(&self) -> Result<Vec<EtcdMember>, TalosError> {
        let what = "EtcdMemberList";
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            let request = EtcdMemberListRequest { query_local: false };
            machine(channel).etcd_member_list(self.request(request)).await
        });
        let members = first(what, answer.await?.into_inner().messages)?.members.into_iter();
        let member = members.map(|member| EtcdMember {
            id: member.id,
            hostname: member.hostname,
            learner: member.is_learner,
        });
        Ok(member.collect())
    }

    /// Returns what the node's own member says; members and alarms are left empty.
    pub async fn etcd_status(&self) -> Result<Etcd, TalosError> {
        let what = "EtcdStatus";
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            machine(channel).etcd_status(self.request(())).await
        });
        let status = first(what, answer.await?.into_inner().messages)?.member_status;
        let status = status.ok_or_else(|| TalosError::Answer {
            what: what.to_owned(),
            flaw: "holds no member's status".to_owned(),
        })?;
        Ok(Etcd {
            member: status.member_id,
            leader: status.leader,
            learner: status.is_learner,
            raft_index: status.raft_index,
            raft_applied_index: status.raft_applied_index,
            errors: status.errors,
            members: Vec::new(),
            alarms: Vec::new(),
        })
    }

    async fn etcd_alarms(&self) -> Result<Vec<(u64, String)>, TalosError> {
        let what = "EtcdAlarmList";
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            machine(channel).etcd_alarm_list(self.request(())).await
        });
        let messages = answer.await?.into_inner().messages;
        let alarms = messages.into_iter().flat_map(|message| message.member_alarms);
        let alarms = alarms.filter(|alarm| alarm.alarm() != AlarmType::None);
        Ok(alarms.map(|alarm| (alarm.member_id, alarm.alarm().as_str_name().to_owned())).collect())
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
