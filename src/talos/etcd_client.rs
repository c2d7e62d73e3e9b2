use super::client::{NodeClient, Repeat, first, machine};
use super::error::TalosError;
use super::etcd::{Etcd, EtcdMember};
use super::proto::machine::EtcdMemberListRequest;
use super::proto::machine::etcd_member_alarm::AlarmType;

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
