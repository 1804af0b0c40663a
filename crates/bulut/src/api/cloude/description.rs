//! What the description says of this dialect as a whole: how parameters may be written, how calls fail, which headers
//! answers have.
//!
//! Must not know: single calls.

use crate::api::idempotency::KEY_MAX;
use crate::api::openapi::{About, Header, Refusal};
use serde_json::json;

const PROSE: &str = "\
A parameter is taken from wherever a client puts it: the path, then the body, then the query; on a GET the body does \
not count. A body is a form, JSON or `multipart/form-data`, which its Content-Type says or, without a good one, its \
look. The schemas say what a careful client sends. Taken besides:

- an empty value is the same as none, and so is `null`; parameters that a call does not know are ignored;
- a list is an array of any spelling (`tags[]=a&tags[]=b`, `tags[0]=a`, `tags=a&tags=b`, a JSON array or an object with \
the keys 0, 1, 2…), one text with commas, or a single value, and an array of one value stands for that value;
- digits in a text are an integer, and numbers and `true` in JSON are their text; words are taken in any case, with \
blanks around them; an id that stands in the path may stand in the body or the query too, where the path wins;
- Base64 with or without padding, wrapped into lines, or in the alphabet of URLs;
- doubled and trailing slashes in a path; HEAD where there is GET, and OPTIONS everywhere.

No parameter may hold a zero byte. Every answer is in the envelope: `status` is `success` or `error`, a failure has a \
sentence in `message` and a stable word in `error.errorDev`. A path without a call answers 404, another method 405 with \
the header Allow. A change that takes time answers at once with an event, which `/v1/event/{id}` shows until it has \
ended; one change at a time holds a server, and a second one is 409.";

/// Names the request.
const REQUEST_ID: Header = Header {
    name: "X-Request-Id",
    description: "Names the request in the log of the cloud: the client's own, if it sent one that is harmless.",
    is_integer: false,
};

const CHALLENGE: Header =
    Header { name: "WWW-Authenticate", description: "The scheme that is wanted: Bearer.", is_integer: false };

const ALLOW: Header =
    Header { name: "Allow", description: "The methods that the path takes.", is_integer: false };

const LIMITED: [Header; 3] = [
    Header {
        name: "Retry-After",
        description: "Seconds until a request is accepted again.",
        is_integer: true,
    },
    Header { name: "RateLimit-Remaining", description: "Requests that are left.", is_integer: true },
    Header { name: "RateLimit-Reset", description: "Seconds until more are.", is_integer: true },
];

/// The ways to fail, with the words that `error.rs` gives them.
pub const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 400,
        name: "Invalid",
        description: "A parameter is missing or wrong, or the body is broken; the sentence names it.",
        words: &["validation"],
        headers: &[],
    },
    Refusal {
        status: 401,
        name: "Unauthenticated",
        description: "There is no token or password, or it is wrong or has expired.",
        words: &["unauthenticated"],
        headers: &[CHALLENGE],
    },
    Refusal {
        status: 402,
        name: "InsufficientBalance",
        description: "The balance does not cover it.",
        words: &["insufficient_balance"],
        headers: &[],
    },
    Refusal {
        status: 403,
        name: "Forbidden",
        description: "The account is suspended, or its quota is used up.",
        words: &["forbidden", "quota"],
        headers: &[],
    },
    Refusal {
        status: 404,
        name: "NotFound",
        description: "What a parameter names does not exist, or is somebody else's.",
        words: &["not_found"],
        headers: &[],
    },
    Refusal {
        status: 405,
        name: "MethodNotAllowed",
        description: "There is a call at this path, but not with this method.",
        words: &["method_not_allowed"],
        headers: &[ALLOW],
    },
    Refusal {
        status: 408,
        name: "TooSlow",
        description: "The body did not arrive in time.",
        words: &["timeout"],
        headers: &[],
    },
    Refusal {
        status: 409,
        name: "Conflict",
        description: "Another operation holds the server, its state does not allow it, the name is taken, there is no \
                      room at the moment, or the Idempotency-Key was used for another request.",
        words: &["conflict", "exists", "no_capacity"],
        headers: &[],
    },
    Refusal {
        status: 413,
        name: "TooLarge",
        description: "The body is longer than 1 MiB.",
        words: &["too_large"],
        headers: &[],
    },
    Refusal {
        status: 429,
        name: "RateLimited",
        description: "There were too many requests.",
        words: &["rate_limited"],
        headers: &LIMITED,
    },
    Refusal {
        status: 500,
        name: "Fault",
        description: "Something went wrong on our side; the sentence has a number for whoever runs the cloud.",
        words: &["internal"],
        headers: &[],
    },
    Refusal {
        status: 503,
        name: "Unavailable",
        description: "Something that the request needs is away for the moment; try again.",
        words: &["unavailable"],
        headers: &[],
    },
];

const TAGS: &[(&str, &str)] = &[
    ("user", "Tokens, and who they belong to."),
    ("account", "The account and its balance."),
    ("server", "Servers: order, power, change, end."),
    ("snapshot", "Snapshots of servers, which outlive them."),
    ("sshkey", "SSH keys for new servers."),
    ("tags", "Tags of servers."),
    ("image", "What disks start from."),
    ("package", "Sizes and prices."),
    ("region", "Where servers run."),
    ("event", "What was asked for in the last day, and what became of it."),
    ("invoice", "What was billed."),
    ("transaction", "What changed the balance."),
    ("usage", "Traffic of servers."),
];

/// What is said of the dialect.
pub fn about() -> About {
    About {
        info: json!({
            "title": "Cloude v1",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": PROSE,
        }),
        tags: TAGS,
        refusals: REFUSALS,
        headers: &[REQUEST_ID],
        idempotency_key: json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "Names the request, so that it can be repeated: within a day the same request with the same \
                            key gets the first answer again and changes nothing a second time; another request with \
                            it is 409.",
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MAX, "pattern": "^[ -~]+$"},
            "example": "order-2018-01-04-1",
        }),
        security: json!({
            "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The token that /v1/user/login answered, good for 45 minutes.",
            },
            "refresh": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The refreshtoken that /v1/user/login answered, good for a day and for one use.",
            },
        }),
    }
}
