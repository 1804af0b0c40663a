//! What goes over the wire in this dialect, with the fields and order of the document (cloudatcost-api-v1, the outputs
//! of each call). Every value is a text, but for times and the numbers of tasks.
//!
//! Must not know: where the values come from.

use crate::domain::orders::made_name;
use bulut_model::operation::{Operation, OperationKind, Status};
use bulut_model::pool::{Pool, Resources};
use bulut_model::run_mode::{MachineUsage, RunMode};
use bulut_model::server::{Phase, Power, Server};
use bulut_model::{AccountId, OperationId, ServerId, Timestamp, address::netmask};
use serde::Serialize;

/// "List servers".
#[derive(Debug, Serialize)]
pub struct Servers {
    /// The account.
    pub id: String,
    /// `listservers`
    pub action: &'static str,
    /// Oldest first.
    pub data: Vec<ServerRow>,
}

/// A server.
#[derive(Serialize)]
pub struct ServerRow {
    id: String,
    #[serde(rename = "CustID")]
    cust_id: String,
    packageid: String,
    servername: String,
    lable: Option<String>,
    label: Option<String>,
    vmname: String,
    ip: String,
    netmask: String,
    gateway: String,
    portgroup: String,
    hostname: String,
    rootpass: String,
    vncport: String,
    vncpass: String,
    servertype: String,
    template: String,
    cpu: String,
    cpuusage: String,
    ram: String,
    ramusage: String,
    storage: String,
    hdusage: String,
    sdate: String,
    status: &'static str,
    panel_note: &'static str,
    mode: &'static str,
    uid: String,
    sid: String,
    rdns: String,
    rdnsdefault: String,
}

impl std::fmt::Debug for ServerRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerRow").field("sid", &self.sid).finish_non_exhaustive()
    }
}

/// What a row tells besides the server itself.
#[derive(Clone, Default)]
pub struct Besides {
    /// The `detail` of its template.
    pub template: String,
    /// Root's password, where it may be shown.
    pub password: String,
    /// What its machine used when it was last looked at.
    pub usage: Option<MachineUsage>,
    /// Port and password for VNC programs, where there are such and they may be shown.
    pub vnc: Option<(u16, String)>,
    /// What its addresses lead to, and what they would without the owner's word.
    pub reverse: (String, String),
}

impl ServerRow {
    /// A server as this dialect shows it.
    pub fn new(server: Server, besides: Besides) -> Self {
        let made = made_name(server.account, server.id);
        let label = server.is_named.then_some(server.name);
        let (ip, mask, gateway) = server.ipv4.as_ref().map_or_else(Default::default, |v4| {
            (v4.address.to_string(), netmask(v4.prefix).to_string(), v4.gateway.to_string())
        });
        let runs = server.power != Power::Stopped;
        let used = Used::of(besides.usage.as_ref(), runs, server.memory_mib);
        Self {
            id: server.id.to_string(),
            cust_id: server.account.to_string(),
            packageid: server.package.to_string(),
            servername: made.clone(),
            lable: label.clone(),
            label,
            vmname: made,
            ip,
            netmask: mask,
            gateway,
            portgroup: server.region_slug,
            hostname: server.hostname,
            rootpass: besides.password,
            vncport: besides.vnc.as_ref().map_or_else(String::new, |(port, _)| port.to_string()),
            vncpass: besides.vnc.map(|(_, password)| password).unwrap_or_default(),
            servertype: if server.in_pool { "Custom".to_owned() } else { server.package_slug },
            template: besides.template,
            cpu: server.cpu.to_string(),
            cpuusage: used.cpu,
            ram: server.memory_mib.to_string(),
            ramusage: used.memory,
            storage: server.disk_gib.to_string(),
            hdusage: used.disk,
            sdate: server.created_at.us_date(),
            status: status_word(server.phase, runs),
            panel_note: "",
            mode: mode_word(server.run_mode),
            uid: server.id.to_string(),
            sid: server.id.to_string(),
            rdns: besides.reverse.0,
            rdnsdefault: besides.reverse.1,
        }
    }
}

const fn status_word(phase: Phase, runs: bool) -> &'static str {
    match (phase, runs) {
        (Phase::Building, _) => "Installing",
        (_, true) => "Powered On",
        (_, false) => "Powered Off",
    }
}

const fn mode_word(mode: RunMode) -> &'static str {
    match mode {
        RunMode::Normal => "Normal",
        RunMode::Safe => "Safe",
    }
}

/// What a machine uses, as texts: percent of its processors, MB, GB.
struct Used {
    cpu: String,
    memory: String,
    disk: String,
}

impl Used {
    fn of(usage: Option<&MachineUsage>, runs: bool, memory_mib: u64) -> Self {
        let none = || "0".to_owned();
        let Some(usage) = usage else { return Self { cpu: none(), memory: none(), disk: none() } };
        // What QEMU itself takes is not the guest's.
        let memory = usage.memory_bytes.min(memory_mib << 20);
        Self {
            cpu: if runs { decimal(usage.cpu_permille, 10, 1) } else { none() },
            memory: if runs { decimal(memory, 1 << 20, 3) } else { none() },
            disk: decimal(usage.disk_bytes, 1 << 30, 9),
        }
    }
}

/// `value / unit` with at most so many digits behind the point, cut off.
fn decimal(value: u64, unit: u64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let fraction = u128::from(value % unit) * u128::from(scale) / u128::from(unit);
    let text = format!("{}.{fraction:0width$}", value / unit, width = digits as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// "List templates".
#[derive(Debug, Serialize)]
pub struct Templates {
    /// `listtemplates`
    pub action: &'static str,
    /// In the catalogue's order.
    pub data: Vec<TemplateRow>,
}

/// A template.
#[derive(Debug, Serialize)]
pub struct TemplateRow {
    id: String,
    ce_id: String,
    detail: String,
    name: String,
}

impl TemplateRow {
    /// The image with this number.
    pub fn new(number: i64, name: String) -> Self {
        Self { id: number.to_string(), ce_id: number.to_string(), detail: name.clone(), name }
    }
}

/// "List tasks".
#[derive(Debug, Serialize)]
pub struct Tasks {
    /// The account.
    pub cid: String,
    /// `listtasks`
    pub action: &'static str,
    /// Oldest first.
    pub data: Vec<TaskRow>,
}

/// A task.
#[derive(Debug, Serialize)]
pub struct TaskRow {
    cid: String,
    idf: String,
    serverid: String,
    action: &'static str,
    status: &'static str,
    starttime: String,
    finishtime: String,
    servername: String,
    ip: String,
    label: Option<String>,
    rdns: String,
    rdnsdefault: String,
}

impl TaskRow {
    /// An operation, the server that it is about, and what that one's addresses lead to.
    pub fn new(operation: &Operation, server: Option<&Server>, reverse: (String, String)) -> Self {
        let seconds = |at: Timestamp| at.unix_seconds().to_string();
        Self {
            cid: operation.account.to_string(),
            idf: operation.id.to_string(),
            serverid: operation.server.to_string(),
            action: action_word(operation.kind),
            status: match operation.status {
                Status::Running => "pending",
                Status::Success => "completed",
                Status::Error => "failed",
            },
            starttime: seconds(operation.created_at),
            // Clients read digits here also while nobody knows.
            finishtime: seconds(operation.completed_at.unwrap_or(operation.created_at)),
            servername: made_name(operation.account, operation.server),
            ip: server
                .and_then(|server| server.ipv4.as_ref())
                .map_or_else(String::new, |v4| v4.address.to_string()),
            label: server.filter(|server| server.is_named).map(|server| server.name.clone()),
            rdns: reverse.0,
            rdnsdefault: reverse.1,
        }
    }
}

/// The words of the document where it has one, and after their pattern where it has none.
const fn action_word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::ServerCreate => "build",
        OperationKind::ServerDestroy => "delete",
        OperationKind::ServerStart => "poweron",
        OperationKind::ServerStop => "poweroff",
        OperationKind::ServerReboot => "reset",
        OperationKind::ServerPassword => "password",
        OperationKind::ServerUpgrade => "upgrade",
        OperationKind::ServerRestore => "restore",
        OperationKind::ServerReinstall => "reimage",
        OperationKind::ServerHostname => "rdns",
        OperationKind::ServerNetwork => "network",
        OperationKind::SnapshotCreate => "snapshot",
        OperationKind::SnapshotDestroy => "deletesnapshot",
    }
}

/// An action on a server that was done, or begun as a task.
#[derive(Debug, Serialize)]
pub struct Done {
    serverid: String,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    taskid: Option<i64>,
    result: &'static str,
}

impl Done {
    /// It is done.
    pub fn new(server: ServerId, action: &'static str) -> Self {
        Self { serverid: server.to_string(), action, taskid: None, result: "successful" }
    }

    /// A task does it.
    pub fn task(server: ServerId, action: &'static str, task: OperationId) -> Self {
        Self { taskid: Some(task.0), ..Self::new(server, action) }
    }
}

/// "Console".
#[derive(Serialize)]
pub struct ConsoleLink {
    /// The server.
    pub serverid: String,
    /// `console`
    pub action: &'static str,
    /// Where its screen opens.
    pub console: String,
    /// `successful`
    pub result: &'static str,
}

/// "CLOUD PRO: Build server".
#[derive(Debug, Serialize)]
pub struct Built {
    serverid: String,
    servername: String,
    action: &'static str,
    taskid: i64,
    result: &'static str,
}

impl Built {
    /// The server that a task builds.
    pub fn new(account: AccountId, server: ServerId, task: OperationId) -> Self {
        Self {
            serverid: server.to_string(),
            servername: made_name(account, server),
            action: "build",
            taskid: task.0,
            result: "successful",
        }
    }
}

/// "CLOUD PRO: Resources".
#[derive(Debug, Serialize)]
pub struct PoolAnswer {
    action: &'static str,
    data: PoolData,
}

#[derive(Debug, Serialize)]
struct PoolData {
    total: Totals,
    used: UsedResources,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Totals {
    Plain(TotalResources),
    List([TotalResources; 1]),
}

#[derive(Debug, Serialize)]
struct TotalResources {
    cpu_total: String,
    ram_total: String,
    storage_total: String,
}

#[derive(Debug, Serialize)]
struct UsedResources {
    cpu_used: String,
    ram_used: String,
    storage_used: String,
}

impl PoolAnswer {
    /// A pool; its totals in a list of one as in the document, or plain.
    pub fn new(pool: &Pool, plain: bool) -> Self {
        let texts = |of: Resources| [of.cpu.to_string(), of.memory_mib.to_string(), of.disk_gib.to_string()];
        let [cpu_total, ram_total, storage_total] = texts(pool.total);
        let [cpu_used, ram_used, storage_used] = texts(pool.used);
        let total = TotalResources { cpu_total, ram_total, storage_total };
        Self {
            action: "resources",
            data: PoolData {
                total: if plain { Totals::Plain(total) } else { Totals::List([total]) },
                used: UsedResources { cpu_used, ram_used, storage_used },
            },
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
