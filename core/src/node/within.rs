//! What is asked for about a stream on behalf of a tenant.
//!
//! What the log decides is decided there: it carries the tenant with it. All else is about a stream as this node knows it.

use super::Node;
use super::command::{Command, Refusal};
use super::output::Output;
use crate::flow::{FlowRefusal, Tenant};
use crate::id::RequestId;
use crate::mesh;

impl Node {
    /// Does what is asked for about a stream, if it is that tenant's.
    pub(super) fn within(&mut self, request: RequestId, tenant: Tenant, command: Command) {
        let input = match command {
            Command::CloseStream { name } => mesh::Input::CloseStream { request, name },
            Command::SealStream { name, lost } => mesh::Input::SealStream { request, name, lost },
            Command::ChangeMembers(wish) => return self.change_members(request, Some(tenant), wish),
            Command::ChangeFlow(wish) => mesh::Input::ChangeFlow { request, wish },
            command => {
                return match self.another_tenants(&tenant, &command) {
                    Some(refusal) => {
                        self.outputs.push_back(Output::Reply { request, reply: Err(refusal.into()) });
                    }
                    None => self.command(request, command),
                };
            }
        };
        self.mesh.handle(self.now, mesh::Input::Within { tenant, input: input.into() });
    }

    /// Why a command is not for that tenant, if the stream that it is about is another's.
    fn another_tenants(&self, named: &Tenant, command: &Command) -> Option<FlowRefusal> {
        let stream = command.stream()?;
        let tenant = self.streams.tenant_of(stream).filter(|tenant| *tenant != named)?.clone();
        Some(FlowRefusal::WrongTenant { stream: stream.into(), tenant, named: named.clone() })
    }

    /// A refusal that names who was asked learns that node's name.
    pub(super) fn named(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Flow(FlowRefusal::Paused { stream, scope, said, .. }) => {
                let name = self.mesh.member(said.at).map(|member| member.name.clone());
                FlowRefusal::Paused { stream, scope, said, name }.into()
            }
            Refusal::Flow(FlowRefusal::Failed { stream, failed, .. }) => {
                let name = self.mesh.member(failed.target).map(|member| member.name.clone());
                FlowRefusal::Failed { stream, failed, name }.into()
            }
            other => other,
        }
    }
}
