//! The parameters of this dialect's calls, with the names of the document and those that clients send.
//!
//! They serve both the reading of requests and the description of the API, so that the two agree. Must not
//! know: rules, which are the domain's.

use crate::api::params::Param;

/// Who logs in.
pub const USERNAME: Param =
    Param::text(&["username", "email"], "the e-mail address or the user name of an account");
/// The password of who logs in.
pub const PASSWORD: Param = Param::text(&["password"], "the password of the account");
/// The refresh token.
pub const REFRESH: Param = Param::text(
    &["refreshtoken", "refresh", "refresh_token", "token"],
    "the refreshtoken that /v1/user/login answered, also accepted as Bearer",
);
/// A server's name.
pub const SERVER_NAME: Param = Param::text(&["name"], "a name for the server, at most 64 characters");
/// A region.
pub const REGION: Param = Param::text(&["region"], "the slug of a region as in /v1/region/list");
/// A package.
pub const PACKAGE: Param = Param::text(&["package"], "the slug of a package as in /v1/package/list");
/// An image.
pub const IMAGE: Param = Param::text(&["image"], "the slug of an image as in /v1/image/list");
/// A host name.
pub const HOSTNAME: Param = Param::text(&["hostname"], "a host name such as web1.example.com");
/// Keys for a new server.
pub const SSH_KEYS: Param = Param::list(
    &["ssh_keys", "ssh_key"],
    "fingerprints of your keys as in /v1/sshkey/list: one, several with commas, or an array",
);
/// What the guest's own set-up does besides.
pub const USER_DATA: Param = Param::text(&["user_data"], "Base64 of a script or of cloud-config");
/// Tags.
pub const TAGS: Param = Param::list(&["tags"], "tags with commas between them, or an array");
/// A server.
pub const SERVER: Param =
    Param::integer(&["id", "subscription_id"], "the integer id of a server as in /v1/server/list");
/// A snapshot, where the call is about a server.
pub const SNAPSHOT: Param =
    Param::integer(&["snapshot_id"], "the integer id of a snapshot as in /v1/snapshot/list");
/// A snapshot, where the call is about nothing else.
pub const SNAPSHOT_ID: Param =
    Param::integer(&["id", "snapshot_id"], "the integer id of a snapshot as in /v1/snapshot/list");
/// A snapshot's name.
pub const SNAPSHOT_NAME: Param = Param::text(&["name"], "a name for the snapshot, at most 64 characters");
/// A new root password.
pub const NEW_PASSWORD: Param =
    Param::text(&["password"], "8 to 256 characters; without it a password is made");
/// How a server is to change its size.
pub const SIZE_CHANGE: Param = Param::text(
    &["type"],
    "full (CPUs, memory and disk), flexible (CPUs and memory only), upgrade or downgrade",
);
/// An event.
pub const EVENT: Param =
    Param::integer(&["id", "event_id"], "the integer id of an event as in /v1/event/list");
/// Kinds of images.
pub const IMAGE_TYPE: Param =
    Param::list(&["type"], "template, application or all, or several of them with commas between them");
/// A key's name.
pub const KEY_NAME: Param = Param::text(&["name"], "a name for the key, at most 64 characters");
/// A key.
pub const PUBLIC_KEY: Param =
    Param::text(&["public_key"], "one line of an OpenSSH public key, such as 'ssh-ed25519 AAAA… name'");
/// Which key.
pub const FINGERPRINT: Param =
    Param::text(&["fingerprint"], "the fingerprint of a key as in /v1/sshkey/list");
/// Servers that are to be tagged.
pub const TAGGED: Param =
    Param::integers(&["sub_ids", "sub_id"], "the integer ids of servers as in /v1/server/list");
/// A server whose tags are to be set.
pub const RETAGGED: Param =
    Param::integer(&["sub_id", "id", "subscription_id"], "the integer id of a server as in /v1/server/list");
/// All tags of a server.
pub const ALL_TAGS: Param =
    Param::list(&["tags"], "tags with blanks or commas between them, or an array, which may be an empty one");
/// A tag.
pub const TAG: Param = Param::text(&["tag"], "a tag as in /v1/tags/list");
/// Where traffic is told from.
pub const FROM: Param = Param::time(
    &["from"],
    "a time in seconds since 1970 or like 2018-01-04T11:14:34Z; without it, a day before to",
);
/// Where traffic is told to.
pub const TO: Param =
    Param::time(&["to"], "a time in seconds since 1970 or like 2018-01-04T11:14:34Z; without it, now");
/// What is added up.
pub const STEP: Param = Param::text(&["step"], "minute, hour, day, or seconds in whole minutes");
/// How many are told.
pub const LIMIT: Param = Param::integer(&["limit"], "how many to list at most, from 1 to 1000");
/// Where a list goes on.
pub const BEFORE: Param = Param::integer(&["before"], "the id of a transaction: those before it are listed");
