//! The parameters of this dialect (cloudatcost-api-v1), with what each accepts.

use crate::api::params::Param;

/// The API key.
pub const KEY: Param = Param::text(&["key"], "an API key");
/// Whose key it is.
pub const LOGIN: Param =
    Param::text(&["login"], "the e-mail address or user name of the account that the key belongs to");
/// A server.
pub const SID: Param = Param::text(&["sid"], "the sid of a server as in listservers.php");
/// What is done to its power.
pub const ACTION: Param = Param::text(&["action"], "poweron, poweroff or reset");
/// Run mode.
pub const MODE: Param = Param::text(&["mode"], "normal or safe");
/// Label.
pub const NAME: Param = Param::text(&["name"], "a label of at most 64 characters");
/// Host name.
pub const HOSTNAME: Param = Param::text(&["hostname"], "a fully qualified host name");
/// Processors.
pub const CPU: Param = Param::text(&["cpu"], "1 to 16");
/// Memory.
pub const RAM: Param = Param::text(&["ram"], "MB of memory, 512 to 32768 and a multiple of 4");
/// Disk.
pub const STORAGE: Param = Param::text(&["storage"], "GB of disk, 10 to 1000");
/// Template.
pub const OS: Param = Param::text(&["os"], "the id of a template as in listtemplates.php");
