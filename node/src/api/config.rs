//! Agreed configuration.

use tonic::Status;
use wattle_core::agreed::{self as core, ConfigCommand, ConfigReply, Expected};
use wattle_core::id::LogIndex;
use wattle_core::node::command::{Command, Reply};
use wattle_proto::api::{
    ConfigChange, ConfigRecord, Consistency, DeleteConfigRequest, DeleteConfigResponse, GetConfigRequest,
    GetConfigResponse, ListConfigRequest, ListConfigResponse, ReadPoint, SetConfigRequest, SetConfigResponse,
    WatchConfigRequest, WatchConfigResponse,
};

use super::data::{Answers, Sender, answers};
use super::errors;
use super::mesh::{ask, out_of_place};
use crate::world::World;

/// Responses of a watch that are ready and not yet written: whoever is slow is asked less, not remembered more.
const RESPONSES_QUEUED: usize = 1;

pub(super) async fn set<W: World>(world: &W, request: SetConfigRequest) -> Result<SetConfigResponse, Status> {
    let SetConfigRequest { key, value, expected_version } = request;
    let expected = Expected::from_number(expected_version);
    match tell(world, ConfigCommand::Set { key, value, expected }).await? {
        ConfigReply::Written { version } => Ok(SetConfigResponse { version: version.0 }),
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

pub(super) async fn delete<W: World>(
    world: &W,
    request: DeleteConfigRequest,
) -> Result<DeleteConfigResponse, Status> {
    let DeleteConfigRequest { key, expected_version } = request;
    let expected = Expected::from_number(expected_version);
    match tell(world, ConfigCommand::Delete { key, expected }).await? {
        ConfigReply::Deleted { version } => Ok(DeleteConfigResponse { version: version.0 }),
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

pub(super) async fn get<W: World>(world: &W, request: GetConfigRequest) -> Result<GetConfigResponse, Status> {
    let consistency = read_consistency(request.consistency)?;
    match tell(world, ConfigCommand::Get { key: request.key, consistency }).await? {
        ConfigReply::Record { record: found, at } => {
            Ok(GetConfigResponse { record: found.map(record), at: Some(point(at)) })
        }
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

pub(super) async fn list<W: World>(
    world: &W,
    request: ListConfigRequest,
) -> Result<ListConfigResponse, Status> {
    let consistency = read_consistency(request.consistency)?;
    let ListConfigRequest { prefix, after, limit, .. } = request;
    match tell(world, ConfigCommand::List { prefix, after, limit, consistency }).await? {
        ConfigReply::Listed { records, more, at } => Ok(ListConfigResponse {
            records: records.into_iter().map(record).collect(),
            more,
            at: Some(point(at)),
        }),
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

/// Asks the node again and again, each time from where its answer before ended.
pub(super) fn watch<W: World>(world: W, request: WatchConfigRequest) -> Answers<WatchConfigResponse> {
    answers(RESPONSES_QUEUED, |responses| run(world, request, responses))
}

async fn run<W: World>(
    world: W,
    request: WatchConfigRequest,
    responses: Sender<WatchConfigResponse>,
) -> Result<(), Status> {
    let WatchConfigRequest { prefix, after } = request;
    let mut after = after.map(LogIndex);
    loop {
        let command = ConfigCommand::Watch { prefix: prefix.clone(), after };
        let reply = tokio::select! {
            reply = tell(&world, command) => reply?,
            () = responses.closed() => return Ok(()),
        };
        let ConfigReply::Changes { fresh, changes, upto } = reply else {
            return Err(out_of_place(&Reply::Config(reply)));
        };
        after = Some(upto);
        let changes = changes.into_iter().map(change).collect();
        if responses.send(Ok(WatchConfigResponse { fresh, changes, upto: upto.0 })).await.is_err() {
            return Ok(());
        }
    }
}

pub(super) async fn tell<W: World>(world: &W, command: ConfigCommand) -> Result<ConfigReply, Status> {
    match ask(world, Command::Config(command)).await? {
        Reply::Config(reply) => Ok(reply),
        other => Err(out_of_place(&other)),
    }
}

pub(super) fn read_consistency(number: i32) -> Result<core::Consistency, Status> {
    match Consistency::try_from(number) {
        Ok(Consistency::Unspecified | Consistency::Linearizable) => Ok(core::Consistency::Linearizable),
        Ok(Consistency::Local) => Ok(core::Consistency::Local),
        Err(_) => Err(errors::invalid(format!("{number} is no consistency: 1 is linearizable, 2 is local"))),
    }
}

fn record(record: core::ConfigRecord) -> ConfigRecord {
    let core::ConfigRecord { key, value, version, created } = record;
    ConfigRecord { key, value, version: version.0, created: created.0 }
}

fn change(change: core::ConfigChange) -> ConfigChange {
    let core::ConfigChange { key, version, record: now } = change;
    ConfigChange { key, version: version.0, record: now.map(record) }
}

pub(super) fn point(at: core::ReadPoint) -> ReadPoint {
    let consistency = match at.consistency {
        core::Consistency::Linearizable => Consistency::Linearizable,
        core::Consistency::Local => Consistency::Local,
    };
    ReadPoint {
        applied: at.applied.0,
        consistency: consistency.into(),
        age_millis: at.age.map(wattle_core::time::Span::as_millis),
    }
}
