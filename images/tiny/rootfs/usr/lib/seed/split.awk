# Splits user-data into DIR/NNN.json (cloud-config without its first line) and DIR/NNN.sh (scripts).
# User-data is a cloud-config, a script, or both kinds as the parts of a MIME multipart document (RFC 2046).
# What it leaves out is said on stderr.
function warn(text) { print text > "/dev/stderr"; }

function open_part(kind) {
    number++;
    target = sprintf("%s/%03d.%s", dir, number, kind);
    sink = "cat > " target;
    # The mark of a cloud-config is a comment in YAML, but nothing in JSON.
    if (kind == "json") sink = "sed '1{/^#cloud-config/d}' > " target;
    if (encoding == "base64") sink = "base64 -d | " sink;
    writing = 1;
}

function close_part() {
    if (writing) close(sink);
    writing = 0;
}

function value_of(header) { sub(/^[^:]*:[ \t]*/, "", header); return header; }

function take_header(line) {
    name = tolower(line);
    if (name ~ /^content-type:/) type = value_of(line);
    if (name ~ /^content-transfer-encoding:/) encoding = tolower(value_of(line));
}

function set_boundary() {
    if (tolower(type) !~ /^multipart\// || !match(type, /boundary=("[^"]*"|[^; \t]*)/)) {
        warn("user-data is of no known kind");
        exit;
    }
    boundary = substr(type, RSTART + 9, RLENGTH - 9);
    gsub(/"/, "", boundary);
    boundary = "--" boundary;
}

function start_body() {
    if (boundary == "") { set_boundary(); state = "between"; return; }
    state = "body";
    kind = tolower(type);
    sub(/[ \t]*;.*/, "", kind);
    if (kind == "text/cloud-config") open_part("json");
    else if (kind == "text/x-shellscript") open_part("sh");
    else warn("ignored a part of type " kind);
}

NR == 1 && /^#cloud-config/ { state = "whole"; open_part("json"); }
NR == 1 && /^#!/ { state = "whole"; open_part("sh"); }
NR == 1 && state == "" { state = "headers"; pending = ""; }

state == "whole" { print | sink; next; }
{ sub(/\r$/, ""); }

boundary != "" && ($0 == boundary || $0 == boundary "--") {
    close_part();
    state = ($0 == boundary) ? "headers" : "end";
    type = "text/plain"; encoding = ""; pending = "";
    next;
}

# A header goes on in the following line when that begins with a blank.
state == "headers" && /^[ \t]/ { pending = pending $0; next; }
state == "headers" { if (pending != "") take_header(pending); pending = $0; }
state == "headers" && $0 == "" { start_body(); next; }

state == "body" && writing { print | sink; }
END { close_part(); }
