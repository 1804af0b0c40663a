# Turns [meta-data, network-config] and the cloud-config parts, which come as texts named in their order, into one shell
# program: the settings as variables, and the network cards, files and boot commands as functions that call nic,
# write_file and boot_command of rc.seed. One run of jq does it all.
# Lists of several configurations are joined; of single values the first one wins, and the first one is the host's.
def quoted: tostring | @sh;
def commands: [.[]? | if type == "array" then map(quoted) | join(" ") else . end] | join("\n");

.[0] as $meta
| (.[1] | .network // .) as $network
| [$ARGS.named | to_entries | sort_by(.key)[] | .value | (try fromjson catch null)] as $parts
| [$parts[] | objects] as $configs
| (reduce ($configs | reverse[]) as $config ({}; . + $config)) as $config
| [$configs[] | .chpasswd | objects | .users[]? | select(.name and .password)
    | {line: "\(.name):\(.password)", plain: (.type == "text" or (.type == null and (.password | startswith("$") | not)))}] as $passwords
| [$network.ethernets // {} | to_entries[]
    | .value + {name: (.value["set-name"] // .key), mac: (.value.match.macaddress // "" | ascii_downcase)}] as $nics
| ($parts[] | select(type != "object")
    | "warn 'ignored a cloud-config part that is not JSON: this image reads no YAML'"),
  "INSTANCE=\($meta["instance-id"] // "" | quoted)",
  "NAME=\($config.hostname // $meta["local-hostname"] // "tiny" | quoted)",
  "FQDN=\($config.fqdn // "" | quoted)",
  "KEYS=\([$configs[] | .ssh_authorized_keys[]?, (.users[]? | objects | select(.name == "root") | .ssh_authorized_keys[]?)]
      + [$meta["public-keys"] | arrays | .[]] | unique | join("\n") | quoted)",
  "PASSWORD_LOGIN=\($config.ssh_pwauth // false | quoted)",
  "PLAIN_PASSWORDS=\([$passwords[] | select(.plain) | .line] | join("\n") | quoted)",
  "HASHED_PASSWORDS=\([$passwords[] | select(.plain | not) | .line] | join("\n") | quoted)",
  "RUNCMD=\([$configs[] | .runcmd | select(. != null) | commands] | join("\n") | quoted)",
  "NAMESERVERS=\([$nics[] | .nameservers.addresses[]?] | unique_by(.) | join(" ") | quoted)",
  "SEARCH=\([$nics[] | .nameservers.search[]?] | join(" ") | quoted)",
  "configure_nics() { :",
  ($nics[] | "nic " + ([
      .mac, .name, (.mtu // ""), (.dhcp4 // false), (if ."accept-ra" == false then 0 else "" end),
      ([.addresses[]?] | join(" ")),
      ([.routes[]? | "\(.to),\(.via // ""),\(if ."on-link" then "onlink" else "" end)"] | join(" "))
    ] | map(quoted) | join(" "))),
  "}",
  "write_files() { :",
  ($configs[] | .write_files[]? | "write_file " + ([.path, (.permissions // ""), (.encoding // ""), (.content // "")] | map(quoted) | join(" "))),
  "}",
  "boot_commands() { :",
  ($configs[] | .bootcmd | select(. != null) | "boot_command \(commands | quoted)"),
  "}"
