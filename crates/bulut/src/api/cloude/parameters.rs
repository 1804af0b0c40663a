//! The parameters of this dialect's calls, with the names of the document and those that clients send.
//!
//! They serve both the reading of requests and the description of the API, so that the two agree. Must not
//! know: rules, which are the domain's; what the description says of lengths and limits is taken from there.

use crate::api::params::Param;
use crate::domain::ledger::PAGE_MAX;
use bulut_model::account::{PASSWORD_MAX, PASSWORD_MIN};
use bulut_model::name::NAME_MAX;
use bulut_model::server::USER_DATA_MAX;
use bulut_model::tag::{LENGTH_MAX, PER_SERVER_MAX};
use bulut_model::traffic::STEP_MAX_S;

/// No control characters, and not blanks alone.
const NAME: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// No control characters.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// No control characters, blanks or commas.
const WORD: &str = r"^[^\s,\u0000-\u001f\u007f-\u009f]+$";
/// One label of at most 63 letters, digits and inner hyphens; or several joined by dots, the last of them no number.
const HOST: &str = concat!(
    r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?|([A-Za-z0-9]+(-+[A-Za-z0-9]+)*\.)+",
    r"([0-9]+(-+[A-Za-z0-9]+)+|[0-9]*[A-Za-z][A-Za-z0-9]*(-+[A-Za-z0-9]+)*))$"
);
/// The type of a key, Base64, and a comment.
const KEY: &str = concat!(
    r"^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)",
    r" +[A-Za-z0-9+/]+={0,2}( [^\u0000-\u001f\u007f-\u009f]*)?$"
);
/// Longest public key, characters.
const KEY_MAX: usize = 8 * 1024;
/// Longest Base64 of user-data, characters: four for three bytes.
const USER_DATA_TEXT_MAX: usize = USER_DATA_MAX.div_ceil(3) * 4;
/// A fingerprint.
const FINGERPRINT_EXAMPLE: &str = "1a:b7:5d:80:50:3c:c5:74:27:46:51:36:bf:db:6b:1b";

/// Who logs in.
pub const USERNAME: Param =
    Param::text(&["username", "email"], "the e-mail address or the user name of an account")
        .example("alice@example.com");
/// The password of who logs in.
pub const PASSWORD: Param =
    Param::text(&["password"], "the password of the account").example("correct horse battery");
/// The refresh token.
pub const REFRESH: Param = Param::text(
    &["refreshtoken", "refresh", "refresh_token", "token"],
    "the refreshtoken that /v1/user/login answered, also accepted as Bearer",
)
.example("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6NzksImVtYWlsIjoiYSJ9.1wo85F1bp8rTP1dlQoUsOg");
/// A server's name.
pub const SERVER_NAME: Param = Param::text(&["name"], "a name for the server, at most 64 characters")
    .length(1, NAME_MAX)
    .pattern(NAME)
    .example("ubuntu-16-04-x64");
/// A region.
pub const REGION: Param =
    Param::text(&["region"], "the slug of a region as in /v1/region/list").example("ist2");
/// A package.
pub const PACKAGE: Param =
    Param::text(&["package"], "the slug of a package as in /v1/package/list").example("eos2");
/// An image.
pub const IMAGE: Param =
    Param::text(&["image"], "the slug of an image as in /v1/image/list").example("ubuntu-16-04-x64");
/// A host name.
pub const HOSTNAME: Param = Param::text(&["hostname"], "a host name such as web1.example.com")
    .length(1, NAME_MAX)
    .pattern(HOST)
    .example("web1.example.com");
/// Keys for a new server.
pub const SSH_KEYS: Param = Param::list(
    &["ssh_keys", "ssh_key"],
    "fingerprints of your keys as in /v1/sshkey/list: one, several with commas, or an array",
)
.example(FINGERPRINT_EXAMPLE);
/// What the guest's own set-up does besides.
pub const USER_DATA: Param = Param::text(&["user_data"], "Base64 of a script or of cloud-config")
    .length(1, USER_DATA_TEXT_MAX)
    .format("byte")
    .example("IyEvYmluL3NoCmVjaG8gaGVsbG8gPiAvcm9vdC9oZWxsbwo=");
/// Tags.
pub const TAGS: Param = Param::list(&["tags"], "tags with commas between them, or an array")
    .count(1, PER_SERVER_MAX)
    .length(1, LENGTH_MAX)
    .pattern(WORD)
    .example("web,production");
/// A server.
pub const SERVER: Param =
    Param::integer(&["id", "subscription_id"], "the integer id of a server as in /v1/server/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("1515");
/// A snapshot, where the call is about a server.
pub const SNAPSHOT: Param =
    Param::integer(&["snapshot_id"], "the integer id of a snapshot as in /v1/snapshot/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("7");
/// A snapshot, where the call is about nothing else.
pub const SNAPSHOT_ID: Param =
    Param::integer(&["id", "snapshot_id"], "the integer id of a snapshot as in /v1/snapshot/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("7");
/// A snapshot's name.
pub const SNAPSHOT_NAME: Param = Param::text(&["name"], "a name for the snapshot, at most 64 characters")
    .length(1, NAME_MAX)
    .pattern(NAME)
    .example("before the upgrade");
/// A new root password.
pub const NEW_PASSWORD: Param =
    Param::text(&["password"], "at least 8 characters and at most 256 bytes; without it a password is made")
        .length(PASSWORD_MIN, PASSWORD_MAX)
        .pattern(PLAIN)
        .example("correct horse battery");
/// How a server is to change its size.
pub const SIZE_CHANGE: Param = Param::text(
    &["type"],
    "full (CPUs, memory and disk), flexible (CPUs and memory only), upgrade or downgrade",
)
.words(&["full", "flexible", "upgrade", "downgrade"])
.example("full");
/// An event.
pub const EVENT: Param =
    Param::integer(&["id", "event_id"], "the integer id of an event as in /v1/event/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("1578");
/// Kinds of images.
pub const IMAGE_TYPE: Param =
    Param::list(&["type"], "template, application or all, or several of them with commas between them")
        .words(&["template", "application", "all"])
        .example("all,application");
/// A key's name.
pub const KEY_NAME: Param = Param::text(&["name"], "a name for the key, at most 64 characters")
    .length(1, NAME_MAX)
    .pattern(NAME)
    .example("laptop");
/// A key.
pub const PUBLIC_KEY: Param =
    Param::text(&["public_key"], "one line of an OpenSSH public key, such as 'ssh-ed25519 AAAA… name'")
        .length(1, KEY_MAX)
        .pattern(KEY)
        .example(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL3pfYXD7DgtH40m6h7/HwJnQ1RlHicitQBewMJJrgZ5 \
             alice@example.com",
        );
/// Which key.
pub const FINGERPRINT: Param =
    Param::text(&["fingerprint"], "the fingerprint of a key as in /v1/sshkey/list")
        .names_a_thing()
        .example(FINGERPRINT_EXAMPLE);
/// Servers that are to be tagged.
pub const TAGGED: Param =
    Param::integers(&["sub_ids", "sub_id"], "the integer ids of servers as in /v1/server/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("1515,1516");
/// A server whose tags are to be set.
pub const RETAGGED: Param =
    Param::integer(&["sub_id", "id", "subscription_id"], "the integer id of a server as in /v1/server/list")
        .range(1, i64::MAX)
        .names_a_thing()
        .example("1515");
/// All tags of a server.
pub const ALL_TAGS: Param =
    Param::list(&["tags"], "tags with blanks or commas between them, or an array, which may be an empty one")
        .count(0, PER_SERVER_MAX)
        .length(1, LENGTH_MAX)
        .pattern(WORD)
        .example("web,production");
/// A tag.
pub const TAG: Param = Param::text(&["tag"], "a tag as in /v1/tags/list").names_a_thing().example("web");
/// Where traffic is told from.
pub const FROM: Param = Param::time(
    &["from"],
    "a time in seconds since 1970 or like 2018-01-04T11:14:34Z; without it, a day before to",
)
.example("2018-01-04T11:14:34Z");
/// Where traffic is told to.
pub const TO: Param =
    Param::time(&["to"], "a time in seconds since 1970 or like 2018-01-04T11:14:34Z; without it, now")
        .example("2018-01-04T12:14:34Z");
/// What is added up.
pub const STEP: Param = Param::text(&["step"], "minute, hour, day, or seconds in whole minutes")
    .words(&["minute", "hour", "day"])
    .range(60, STEP_MAX_S)
    .multiple_of(60)
    .example("hour");
/// How many are told.
pub const LIMIT: Param =
    Param::integer(&["limit"], "how many to list at most, from 1 to 1000").range(1, PAGE_MAX).example("100");
/// Where a list goes on.
pub const BEFORE: Param = Param::integer(&["before"], "the id of a transaction: those before it are listed")
    .range(i64::MIN, i64::MAX)
    .example("4711");
