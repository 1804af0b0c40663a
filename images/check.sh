#!/usr/bin/env bash
# Proves that an image is a good guest: boots it with plain QEMU, without root and without the control plane.
#
#   check.sh IMAGE_DIR [bios|uefi|direct]      the default is what image.json says
#   check.sh --packages                        prints the Debian packages that it needs
#
# The guest gets a NoCloud seed with a static address, a key, a password and a customer's own part, then is asked over
# ssh, over its serial line and over the guest agent whether all of it came true; it is restarted with a larger disk, and
# once more with the seed of another instance; in the end its power button is pressed.
# ACCEL (tcg), CPUS (1), MEMORY_MIB (by image), TIMEOUT (seconds to the ssh banner, 400), KEEP=1 keeps the directory,
# ASK="command" has the guest run it after its first boot, and shows the answer.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
ADDRESS=10.77.0.20 GATEWAY=10.77.0.1 ADDRESS6=fd77::20 GATEWAY6=fe80::1 MAC=52:54:00:77:00:20
NAME=check-guest PASSWORD="first pass:word" SECOND_PASSWORD="second-password" THIRD_PASSWORD="third-password"
DISK_GIB=5 GROWN_GIB=7 TIMEOUT=${TIMEOUT:-400}
PACKAGES="qemu-system-x86 qemu-utils ovmf xorriso openssh-client openssl jq python3"
MERGE_TYPE="list(append)+dict(no_replace,recurse_list)+str()"
FAILED=0 QEMU_PID=''

die() { printf 'check: error: %s\n' "$*" >&2; exit 1; }
note() { printf 'check: %6ss  %s\n' "$(seconds_since "$STARTED")" "$*"; }
seconds_since() { awk -v now="$EPOCHREALTIME" -v then="$1" 'BEGIN { printf "%.1f", now - then }'; }

# expect WHAT WANTED GOT
expect() {
    if [ "$2" = "$3" ]; then note "ok      $1: $3"; else note "FAILED  $1: wanted '$2', got '$3'"; FAILED=$((FAILED + 1)); fi
}

clean_up() {
    if [ -n "$QEMU_PID" ] && kill -0 "$QEMU_PID" 2>/dev/null; then kill -KILL "$QEMU_PID"; wait "$QEMU_PID" 2>/dev/null || true; fi
    if [ -n "${KEEP:-}" ]; then echo "check: kept $WORK" >&2; else rm -rf "$WORK"; fi
}

# make_seed INSTANCE WORD: a multipart document, like those that the control plane makes: its own part, then the
# customer's two. WORD is what each boot leaves behind.
make_seed() {
    local key
    [ -e "$WORK/key" ] || ssh-keygen -q -t ed25519 -N '' -C check -f "$WORK/key"
    key=$(cat "$WORK/key.pub")
    mkdir -p "$WORK/seed"
    jq -n --arg name "$NAME" --arg id "$1" '{"instance-id": $id, "local-hostname": $name}' > "$WORK/seed/meta-data"
    jq -n --arg mac "$MAC" --arg a4 "$ADDRESS/26" --arg a6 "$ADDRESS6/128" --arg g4 "$GATEWAY" --arg g6 "$GATEWAY6" '
        {version: 2, ethernets: {eth0: {match: {macaddress: $mac}, "set-name": "eth0", "accept-ra": false, addresses: [$a4, $a6],
         routes: [{to: "0.0.0.0/0", via: $g4}, {to: "::/0", via: $g6, "on-link": true}],
         nameservers: {addresses: ["10.77.0.3", "1.1.1.1"]}}}}' > "$WORK/seed/network-config"
    {
        printf 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="==check=="\n\n'
        printf -- '--==check==\nContent-Type: text/cloud-config; charset="utf-8"\n\n#cloud-config\n'
        jq -n --arg name "$NAME" --arg key "$key" --arg password "$PASSWORD" '
            {hostname: $name, fqdn: ($name + ".example.org"), prefer_fqdn_over_hostname: true, disable_root: false, ssh_pwauth: true, ssh_authorized_keys: [$key],
             chpasswd: {expire: false, users: [{name: "root", password: $password, type: "text"}]}}'
        printf -- '--==check==\nContent-Type: text/x-shellscript; charset="utf-8"\nContent-Transfer-Encoding: base64\n\n'
        # shellcheck disable=SC2016  # the guest's shell expands these
        printf '#!/bin/sh\necho "ran as $(id -un)" > /root/from-script\n' | base64
        printf -- '--==check==\nContent-Type: text/cloud-config\nMerge-Type: %s\n\n#cloud-config\n' "$MERGE_TYPE"
        jq -n --arg word "$2" '{runcmd: [["sh", "-c", "echo \"$1\" > /root/from-runcmd", "-", "it'"'"'s run"], "echo again >> /root/from-runcmd"],
            bootcmd: ["(\nexit 7\n)", "echo \($word | @sh) >> /root/from-bootcmd"],
            write_files: [{path: "/opt/check/file", permissions: "0640", encoding: "b64", content: ("bits & pieces" | @base64)}]}'
        printf -- '--==check==--\n'
    } > "$WORK/seed/user-data"
    xorriso -as genisoimage -quiet -output "$WORK/new.iso" -volid cidata -joliet -rock "$WORK"/seed/* 2>/dev/null
    # Into the same file, which the guest that runs has for its disk.
    cat "$WORK/new.iso" > "$WORK/seed.iso"
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)) && (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# The firmware is code and variables; the variables are written to, so each guest has its own copy.
uefi_drives() {
    local code
    for code in /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd; do [ ! -e "$code" ] || break; done
    [ -e "$code" ] || die "no UEFI firmware: apt-get install ovmf"
    cp "${code/CODE/VARS}" "$WORK/vars.fd"
    FIRMWARE=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=$code" -drive "if=pflash,format=raw,unit=1,file=$WORK/vars.fd")
}

start() {
    FIRMWARE=()
    case $MODE in
        uefi) uefi_drives ;;
        direct)
            FIRMWARE=(-kernel "$IMAGE/$(describe kernel)" -initrd "$IMAGE/$(describe initrd)" -append "$(describe cmdline)")
            ;;
    esac
    qemu-img create -q -f qcow2 -b "$IMAGE/disk.qcow2" -F qcow2 "$WORK/disk.qcow2" "${DISK_GIB}G"
    PORT=$(free_port)
    STARTED=$EPOCHREALTIME
    qemu-system-x86_64 -name check -machine q35 -accel "${ACCEL:-tcg}" -cpu max -smp "${CPUS:-1}" -m "$MEMORY" \
        -nodefaults -no-user-config -display none -vga none "${FIRMWARE[@]}" \
        -drive "if=none,id=root,file=$WORK/disk.qcow2,format=qcow2,discard=unmap" -device virtio-blk-pci,drive=root,bootindex=1 \
        -drive "if=none,id=seed,file=$WORK/seed.iso,format=raw,readonly=on" -device virtio-blk-pci,drive=seed \
        -netdev "user,id=net,ipv4=on,ipv6=off,net=10.77.0.0/26,host=$GATEWAY,dns=10.77.0.3,hostfwd=tcp:127.0.0.1:$PORT-$ADDRESS:22" \
        -device "virtio-net-pci,netdev=net,mac=$MAC,romfile=" -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
        -device virtio-serial-pci -chardev "socket,id=agent,path=$WORK/agent.sock,server=on,wait=off" \
        -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
        -chardev "socket,id=serial,path=$WORK/serial.sock,server=on,wait=off,logfile=$WORK/serial.log" -serial chardev:serial -qmp "unix:$WORK/qmp.sock,server=on,wait=off" < /dev/null > "$WORK/qemu.log" 2>&1 &
    QEMU_PID=$!
}

describe() { jq -r --arg key "$1" '.[$key] // ""' "$IMAGE/image.json"; }

# The forwarded port accepts before the guest listens: only the banner tells.
wait_for_banner() {
    local banner patience=2         # a connection begun while the guest was down stays dead for long: better a new one
    while [ "${EPOCHREALTIME%.*}" -lt $((${STARTED%.*} + TIMEOUT)) ]; do
        kill -0 "$QEMU_PID" 2>/dev/null || { cat "$WORK/qemu.log" >&2; die "QEMU ended"; }
        banner=$(timeout "$patience" bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT && IFS= read -r line <&3 && echo \"\$line\"" 2>/dev/null || true)
        case $banner in SSH-*) note "ssh banner: ${banner%$'\r'}"; return ;; esac
        [ "$patience" -ge 10 ] || patience=$((patience + 1))
        sleep 0.2
    done
    tail -n 20 "$WORK/serial.log" >&2
    die "no ssh banner in $TIMEOUT s"
}

SSH_OPTIONS=(-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=60 -o LogLevel=ERROR)
# The forwarded port is answered by QEMU: while the guest is down, it is the time-out that ends an attempt.
guest() {
    timeout "${PATIENCE:-120}" ssh "${SSH_OPTIONS[@]}" -p "$PORT" -i "$WORK/key" -o IdentitiesOnly=yes -o BatchMode=yes root@127.0.0.1 "$@" < /dev/null
}

# Asks for nothing but the password, which ssh gets from a helper: no terminal and no further tool is needed.
guest_by_password() {
    # shellcheck disable=SC2016  # so does the helper's
    printf '#!/bin/sh\nprintf "%%s\\n" "$CHECK_PASSWORD"\n' > "$WORK/askpass"
    chmod 0700 "$WORK/askpass"
    CHECK_PASSWORD=$1 SSH_ASKPASS=$WORK/askpass SSH_ASKPASS_REQUIRE=force ssh "${SSH_OPTIONS[@]}" -p "$PORT" -o PubkeyAuthentication=no \
        -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 root@127.0.0.1 "echo in" < /dev/null 2>/dev/null || echo refused
}

# talk SOCKET JSON...: one line there, one line back; QMP greets first, and its events are passed over.
talk() {
    python3 - "$@" <<'PYTHON'
import json, socket, sys
link = socket.socket(socket.AF_UNIX)
link.settimeout(60)
link.connect(sys.argv[1])
lines = link.makefile("rw")
for text in sys.argv[2:]:
    lines.write(text + "\n")
    lines.flush()
    while True:
        answer = json.loads(lines.readline())
        if "return" in answer or "error" in answer:
            break
print(json.dumps(answer.get("return", answer.get("error"))))
PYTHON
}
agent() { talk "$WORK/agent.sock" "$@"; }

# Waits for the guest agent to run a shell command and prints what that wrote.
agent_exec() {
    local pid answer
    pid=$(agent "$(jq -nc --arg line "$1" '{execute: "guest-exec", arguments: {path: "/bin/sh", arg: ["-c", $line], "capture-output": true}}')" | jq .pid)
    for _ in $(seq 100); do
        answer=$(agent "{\"execute\": \"guest-exec-status\", \"arguments\": {\"pid\": $pid}}")
        [ "$(jq .exited <<< "$answer")" != true ] || { jq -r '."out-data" // "" | @base64d' <<< "$answer"; return; }
        sleep 0.2
    done
}

check_seed() {
    local status
    expect "cloud-init status" "status: done" "$(guest 'cloud-init status --wait 2>/dev/null' | tr -d '.\n' | sed 's/\(status: [a-z]*\).*/\1/')"
    note "cloud-init is done"
    status=$(guest 'cloud-init status --format json' | jq -c '[.status, (.errors | length)]')
    expect "cloud-init status as JSON" '["done",0]' "$status"
    expect "host name" "$NAME.example.org" "$(guest hostname)"
    expect "address" "$ADDRESS/26" "$(guest ip -4 addr show dev eth0 | awk '$1 == "inet" { print $2 }')"
    expect "gateway" "$GATEWAY" "$(guest ip -4 route | awk '$1 == "default" { print $3 }')"
    expect "IPv6 address" "$ADDRESS6/128" "$(guest ip -6 addr show dev eth0 | awk '$1 == "inet6" && $2 ~ /^fd77/ { print $2 }')"
    expect "IPv6 gateway" "$GATEWAY6" "$(guest ip -6 route | awk '$1 == "default" && / via / { print $3; exit }')"
    expect "gateway answers" "0" "$(guest "ping -c 1 -W 5 $GATEWAY > /dev/null; echo \$?")"
    expect "root grown to $DISK_GIB GiB" "yes" "$(guest df -m / | awk -v want=$((DISK_GIB * 1024 * 9 / 10)) 'NR == 2 { print ($2 > want ? "yes" : $2) }')"
    expect "customer's script" "ran as root" "$(guest cat /root/from-script)"
    expect "customer's runcmd" "it's run again" "$(guest cat /root/from-runcmd | tr '\n' ' ' | sed 's/ $//')"
    expect "customer's bootcmd" "first" "$(guest cat /root/from-bootcmd | tr '\n' ' ' | sed 's/ $//')"
    expect "customer's file" "640 bits & pieces" "$(guest 'stat -c %a /opt/check/file; cat /opt/check/file' | tr '\n' ' ' | sed 's/ $//')"
    expect "machine id" "32" "$(guest cat /etc/machine-id | tr -d '\n' | wc -c)"
    expect "password of the seed" "in" "$(guest_by_password "$PASSWORD")"
    expect "wrong password" "refused" "$(guest_by_password "not the password")"
    expect "sftp" "check" "$(sftp "${SSH_OPTIONS[@]}" -P "$PORT" -i "$WORK/key" -b <(echo "get /etc/hostname $WORK/hostname") root@127.0.0.1 > /dev/null 2>&1; cut -c1-5 "$WORK/hostname" 2>/dev/null)"
}

# Sees the prompt, logs in, and asks who that is: prints the answer.
serial_login() {
    python3 - "$WORK/serial.sock" "$1" <<'PYTHON'
import socket, sys, time
link = socket.socket(socket.AF_UNIX)
link.settimeout(1)
link.connect(sys.argv[1])
end = time.monotonic() + 90
seen = b""
def wait(what, instead=b"Login incorrect", again=None):
    global seen
    while what not in seen and instead not in seen and time.monotonic() < end:
        if again: link.sendall(again)
        try: seen += link.recv(4096)
        except TimeoutError: pass
        else: again = None
    found, seen = what in seen, seen.split(what, 1)[-1]
    return found
if not wait(b"login: ", again=b"\r"): sys.exit("no prompt")
link.sendall(b"root\r")
if not wait(b"assword: "): sys.exit("no question for the password")
link.sendall(sys.argv[2].encode() + b"\r")
if not wait(b"# "): sys.exit("refused")
link.sendall(b"echo I am $(id -un), really\r")
print("in as root" if wait(b"I am root, really") else "no answer")
link.sendall(b"exit\r")
PYTHON
}

# Writes down a file of the guest as its agent reads it.
agent_file() {
    local handle
    handle=$(agent "$(jq -nc --arg path "$1" '{execute: "guest-file-open", arguments: {path: $path, mode: "r"}}')")
    agent "{\"execute\": \"guest-file-read\", \"arguments\": {\"handle\": $handle}}" | jq -r '."buf-b64" | @base64d'
    agent "{\"execute\": \"guest-file-close\", \"arguments\": {\"handle\": $handle}}" > /dev/null
}

# agent_password SECRET CRYPTED
agent_password() {
    agent "$(jq -nc --arg secret "$1" --argjson crypted "$2" \
        '{execute: "guest-set-user-password", arguments: {username: "root", password: ($secret | @base64), crypted: $crypted}}')" > /dev/null
}

check_agent() {
    local hash
    expect "agent answers" "{}" "$(agent '{"execute": "guest-ping"}')"
    expect "agent runs a command" "$NAME.example.org" "$(agent_exec hostname)"
    expect "agent tells the addresses" "$ADDRESS" "$(agent '{"execute": "guest-network-get-interfaces"}' |
        jq -r '.[] | select(.name == "eth0") | ."ip-addresses"[] | select(."ip-address-type" == "ipv4") | ."ip-address"')"
    expect "agent freezes and thaws" "true" "$(agent '{"execute": "guest-fsfreeze-freeze"}' '{"execute": "guest-fsfreeze-thaw"}' | jq '. > 0')"
    agent_password "$SECOND_PASSWORD" false
    expect "password set by the agent" "in" "$(guest_by_password "$SECOND_PASSWORD")"
    expect "former password" "refused" "$(guest_by_password "$PASSWORD")"
    hash=$(openssl passwd -6 "$THIRD_PASSWORD")
    agent_password "$hash" true
    expect "agent reads what it has set" "$hash" "$(agent_file /etc/shadow | awk -F: '$1 == "root" { print $2 }')"
    expect "password set as a hash" "in" "$(guest_by_password "$THIRD_PASSWORD")"
    expect "password on the serial line" "in as root" "$(serial_login "$THIRD_PASSWORD" 2>&1)"
    expect "wrong one on the serial line" "refused" "$(serial_login "$SECOND_PASSWORD" 2>&1)"
}

restart() {
    local before=$EPOCHREALTIME boot_id patience=3
    boot_id=$(guest cat /proc/sys/kernel/random/boot_id)
    guest reboot || true
    # The guest may still answer on its way down: only another boot id is another boot.
    while [ "$(PATIENCE=$patience guest cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo "$boot_id")" = "$boot_id" ]; do
        [ "${EPOCHREALTIME%.*}" -lt $((${before%.*} + TIMEOUT)) ] || die "no reboot in $TIMEOUT s"
        [ "$patience" -ge 20 ] || patience=$((patience + 1))
        sleep 1
    done
    note "was back $(seconds_since "$before") s after reboot was asked"
}

host_key() { ssh-keyscan -T 60 -t ed25519 -p "$PORT" 127.0.0.1 2>/dev/null | awk '{ print $3 }'; }
machine_id() { guest cat /etc/machine-id; }
boots() { guest cat /root/from-bootcmd | tr '\n' ' ' | sed 's/ $//'; }
differs() { if [ -n "$2" ] && [ "$1" != "$2" ]; then echo differs; else echo "the same: $2"; fi; }

check_restart() {
    local key machine
    key=$(host_key) machine=$(machine_id)
    talk "$WORK/qmp.sock" '{"execute": "qmp_capabilities"}' \
        "{\"execute\": \"block_resize\", \"arguments\": {\"device\": \"root\", \"size\": $((GROWN_GIB << 30))}}" > /dev/null
    restart
    expect "host name after a reboot" "$NAME.example.org" "$(guest hostname)"
    expect "runcmd ran once" "2" "$(guest 'wc -l < /root/from-runcmd')"
    expect "bootcmd ran again" "first first" "$(boots)"
    expect "root grown to $GROWN_GIB GiB" "yes" "$(guest df -m / | awk -v want=$((GROWN_GIB * 1024 * 9 / 10)) 'NR == 2 { print ($2 > want ? "yes" : $2) }')"
    expect "password set by the agent stays" "in" "$(guest_by_password "$THIRD_PASSWORD")"
    expect "host key stays" "$key" "$(host_key)"
    expect "machine id stays" "$machine" "$(machine_id)"
}

# The next boot finds another seed: a known instance takes its bootcmd, a new one everything.
check_other_seeds() {
    local key machine
    key=$(host_key)
    make_seed "$INSTANCE" other
    restart
    expect "bootcmd of the seed as it is now" "first first other" "$(boots)"
    expect "password stays with a known instance" "in" "$(guest_by_password "$THIRD_PASSWORD")"
    expect "host key stays with a known instance" "$key" "$(host_key)"
    machine=$(machine_id)
    guest rm /root/from-runcmd /root/from-script
    make_seed "$INSTANCE-copy" new
    restart
    expect "cloud-init status of a new instance" "status: done" "$(guest 'cloud-init status --wait 2>/dev/null' | tr -d '.\n' | sed 's/\(status: [a-z]*\).*/\1/')"
    expect "bootcmd of a new instance" "first first other new" "$(boots)"
    expect "customer's script, again" "ran as root" "$(guest cat /root/from-script)"
    expect "customer's runcmd, again" "2" "$(guest 'wc -l < /root/from-runcmd')"
    expect "password of the seed, again" "in" "$(guest_by_password "$PASSWORD")"
    expect "host key of a new instance" "differs" "$(differs "$key" "$(host_key)")"
    # The others keep it until they are told: systemd makes one only where there is none.
    [ "$(describe slug)" != tiny ] || expect "machine id of a new instance" "differs" "$(differs "$machine" "$(machine_id)")"
}

check_power_button() {
    local before=$EPOCHREALTIME
    talk "$WORK/qmp.sock" '{"execute": "qmp_capabilities"}' '{"execute": "system_powerdown"}' > /dev/null
    for _ in $(seq 450); do kill -0 "$QEMU_PID" 2>/dev/null || break; sleep 0.2; done
    expect "power button" "off" "$(if kill -0 "$QEMU_PID" 2>/dev/null; then echo "still on"; else echo off; fi)"
    note "was off $(seconds_since "$before") s after the button"
}

case ${1:-} in
    --packages) echo "$PACKAGES"; exit ;;
    '' | -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
for tool in qemu-system-x86_64 qemu-img xorriso ssh-keygen openssl jq python3; do
    command -v $tool > /dev/null || die "$tool is missing: apt-get install $PACKAGES"
done
IMAGE=$(cd "$1" && pwd)
[ -e "$IMAGE/image.json" ] || die "$IMAGE has no image.json"
MODE=${2:-$(describe boot)}
case $MODE in disk) MODE=bios ;; bios | uefi | direct) ;; *) die "unknown way to boot: $MODE" ;; esac
MEMORY=${MEMORY_MIB:-$([ "$(describe slug)" = tiny ] && echo 128 || echo 1024)}
WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/bulut-check.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT TERM

INSTANCE=i-$RANDOM$RANDOM
make_seed "$INSTANCE" first
start
note "started $(describe slug) by $MODE, ${CPUS:-1} CPU, $MEMORY MiB, ${ACCEL:-tcg}, ssh on 127.0.0.1:$PORT"
wait_for_banner
check_seed
[ -z "${ASK:-}" ] || guest "$ASK"
check_agent
check_restart
check_other_seeds
check_power_button
[ $FAILED -eq 0 ] || die "$FAILED checks failed"
note "passed: $(describe slug) by $MODE"
