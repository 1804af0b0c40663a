#!/bin/sh
# shellcheck disable=SC2154  # udhcpc tells what it got in the environment
case $1 in
    deconfig) ip link set "$interface" up ;;
    bound | renew)
        ip addr flush dev "$interface"
        ip addr add "$ip/$mask" dev "$interface"
        for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; done
        for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
        ;;
esac
