#!/bin/sh
# Every call of fastbreak.v1.AlertService, on the first alert that is open now.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.AlertService/$1"
}

# Narrowed by rule, severity or state; all are optional.
call ListAlerts '{}'
call ListAlerts '{"state": "ALERT_STATE_FIRING"}'
call ListAlertHistory '{"hours": 24, "page_size": 20}'

# The first "id" and "ruleId" of the list.
field() {
    call ListAlerts '{"state": "ALERT_STATE_FIRING"}' | sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p" | head -n 1
}
id=$(field id)
rule=$(field ruleId)
if [ -z "$id" ]; then
    echo "nothing fires: the calls about one alert are left out"
    exit 0
fi

call GetAlert "{\"id\": \"$id\"}"
call AcknowledgeAlert "{\"id\": \"$id\", \"by\": \"me\", \"note\": \"on it\"}"
call UnacknowledgeAlert "{\"id\": \"$id\"}"

# Why it fired or not, and who was told or not; "at" and "labels" are optional.
call ExplainAlert "{\"rule_id\": \"$rule\"}"
