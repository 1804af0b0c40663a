# Turns [meta-data, network-config, cloud-config...] into one shell program: the settings as variables, and the network
# cards and files as two functions that call nic and write_file of rc.seed. One run of jq does it all.
# Lists of several configurations are joined; of single values the first one wins, and the first one is the host's.
def quoted: tostring | @sh;

.[0] as $meta
| (.[1] | .network // .) as $network
| .[2:] as $configs
| (reduce ($configs | reverse[]) as $config ({}; . + $config)) as $config
| [$configs[] | .chpasswd | objects | .users[]? | select(.name and .password)
    | {line: "\(.name):\(.password)", plain: (.type == "text" or (.type == null and (.password | startswith("$") | not)))}] as $passwords
| [$network.ethernets // {} | to_entries[]
    | .value + {name: (.value["set-name"] // .key), mac: (.value.match.macaddress // "" | ascii_downcase)}] as $nics
| "INSTANCE=\($meta["instance-id"] // "" | quoted)",
  "NAME=\($config.hostname // $meta["local-hostname"] // "tiny" | quoted)",
  "FQDN=\($config.fqdn // "" | quoted)",
  "KEYS=\([$configs[] | .ssh_authorized_keys[]?, (.users[]? | objects | select(.name == "root") | .ssh_authorized_keys[]?)]
      + [$meta["public-keys"] | arrays | .[]] | unique | join("\n") | quoted)",
  "PASSWORD_LOGIN=\($config.ssh_pwauth // false | quoted)",
  "PLAIN_PASSWORDS=\([$passwords[] | select(.plain) | .line] | join("\n") | quoted)",
  "HASHED_PASSWORDS=\([$passwords[] | select(.plain | not) | .line] | join("\n") | quoted)",
  "RUNCMD=\([$configs[] | .runcmd[]? | if type == "array" then map(quoted) | join(" ") else . end] | join("\n") | quoted)",
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
  "}"
