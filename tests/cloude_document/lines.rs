//! The curl lines of the Cloude document (cloude-api-v1), as they stand there; only blanks at the ends of lines, which
//! would break them in a shell, are gone. "List snapshots for a server" repeats the line of "Get information a server".

/// The fingerprint that the lines on keys name.
pub const FINGERPRINT: &str = "c2%3A1b%3Afe%3Aa4%3A90%3A4f%3A6a%3A4f%3A11%3Aa4%3A07%3A26%3A78%3A3b%3Ad6%3Aee";

pub const LOGIN: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/user/login" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "username={{test_user}}&password={{test_pass}}""#;
pub const SERVER_CREATE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=ubuntu-16-04-x64&region=ist2&package=eos2&image=ubuntu-16-04-x64&hostname=&ssh_keys=&user_data=""#;
pub const SERVER_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/server/list" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;
pub const SERVER_GET: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/server/1515" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;
pub const SERVER_DESTROY: &str = r#"curl --location --request DELETE "https://api.cloude.ro/v1/server/{{subscription_id}}/destroy" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#;
pub const START: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/start" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=1""#;
pub const STOP: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/stop" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#;
pub const REBOOT: &str = r#"curl --location --request POST "https://api.cloud.ro/v1/server/reboot" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#;
pub const CHANGE_PASSWORD: &str = r#"curl --location --request POST "https://api.cloud.ro/v1/server/{{subscription_id}}/change_password" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "subscription_id=1520""#;
pub const CREATE_FROM_SNAPSHOT: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/create_from_snapshot" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=snaptovm%20-%20api2&package=eos1&snapshot_id=37&hostname=&ssh_keys=&user_data=""#;
pub const RESTORE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/{{subscription_id}}/restore_from_snapshot" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "snapshot_id=1000""#;
pub const REFRESH_INSTALL: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/{{subscription_id}}/refresh_install" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=&image=""#;
pub const UPGRADE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/server/{{subscription_id}}/upgrade_package" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=&package=&type=""#;
pub const SNAPSHOT_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/snapshot/list" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#;
pub const SNAPSHOT_CREATE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/snapshot/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=1&name=SnapTest03""#;
pub const SNAPSHOT_DESTROY: &str = r#"curl --location --request DELETE "https://api.cloude.ro/v1/snapshot/destroy" \
  --header "Authorization: Bearer {{authToken}}" \
  --data "id=1072""#;
pub const SSHKEY_CREATE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/sshkey/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=Test%20SSHKey&public_key=ssh-rsa%20AAAAAB3NzaC1yc2EAAAADAQABAAQAC06Jt7Pvc5GfUuHdwIZQo42ynRC1puBw9J9z3M3NTJ+1y/USxJcWRsaCPvzt/UCX9KU"#;
pub const SSHKEY_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/sshkey/list" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#;
pub const SSHKEY_UPDATE: &str = r#"curl --location --request PUT "https://api.cloude.ro/v1/sshkey/update" \
  --header "Authorization: Bearer {{authToken}}" \
  --data "fingerprint=c2%3A1b%3Afe%3Aa4%3A90%3A4f%3A6a%3A4f%3A11%3Aa4%3A07%3A26%3A78%3A3b%3Ad6%3Aee&name=SSTest2""#;
pub const SSHKEY_DESTROY: &str = r#"curl --location --request DELETE "https://api.cloude.ro/v1/sshkey/destroy" \
  --header "Authorization: Bearer {{authToken}}" \
  --data "fingerprint=c2%3A1b%3Afe%3Aa4%3A90%3A4f%3A6a%3A4f%3A11%3Aa4%3A07%3A26%3A78%3A3b%3Ad6%3Aee""#;
pub const TAGS_CREATE: &str = r#"curl --location --request POST "https://api.cloude.ro/v1/tags/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "sub_ids%5B%5D=1515&sub_ids%5B%5D=1520&tags%5B%5D=web1&tags%5B%5D=ftp1""#;
pub const TAGS_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/tags/list" \
--header "Authorization: Bearer {{authToken}}" \
--data """#;
pub const TAGS_UPDATE: &str = r#"curl --location --request PUT "https://api.cloude.ro/v1/tags/update" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "sub_id=79&tags=asdsa%20asd%20asd""#;
pub const TAGS_DESTROY: &str = r#"curl --location --request DELETE "https://api.cloud.ro/v1/tags/destroy" \
  --header "Authorization: Bearer {{authToken}}" \
  --data "tag=ftp1""#;
pub const IMAGE_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/image/list?type=all,application" \
--data """#;
pub const APPLICATION_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/image/list?type=application" \
--data """#;
pub const PACKAGE_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/package/list" \
  --data """#;
pub const REGION_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/region/list" \
--data """#;
pub const EVENT_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/event/list" \
--header "Authorization: Bearer {{authToken}}" \
--data """#;
pub const EVENT_GET: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/event/%7Bevent_id%7D" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#;
pub const INVOICE_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/invoice/list" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#;
pub const TRANSACTION_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/transaction/list" \
--header "Authorization: Bearer {{authToken}}" \
--data """#;
pub const USAGE_LIST: &str = r#"curl --location --request GET "https://api.cloude.ro/v1/usage/list?id=1" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data """#;
