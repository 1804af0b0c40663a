//! Tags (cloude-api-v1, "List all tags").

use super::kinds;
use bulut_model::tag::Tag;
use serde::Serialize;
use utoipa::ToSchema;

/// A tag and how many servers carry it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tag, examples(json!({"count": 2, "tag": "web", "created_at": "2018-01-04T11:14:34Z"})))]
pub struct TagView {
    /// Servers that carry it.
    pub count: i64,
    /// The tag.
    pub tag: String,
    /// When it was first put on one of the account's servers, UTC.
    #[schema(value_type = kinds::Time)]
    pub created_at: String,
}

impl From<Tag> for TagView {
    fn from(tag: Tag) -> Self {
        Self { count: tag.servers, created_at: tag.created_at.wire(), tag: tag.word }
    }
}
