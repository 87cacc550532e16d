#!/usr/bin/env bash
# A Slurm of one node on the loopback, everything of it in one folder: cluster.sh start FOLDER | stop FOLDER
#
# Needs munge, slurmctld, slurmd and slurm-client (Debian's packages), no root, no cgroups, no database. The node says
# that it has 2 GPUs; their device files are two that every machine has, and nothing opens them. Jobs of the partition
# `gpu` give way to those of `urgent`: they get SIGTERM, KillWait seconds later SIGKILL, and are queued again.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin  # where Debian keeps daemons
folder=$(realpath "$2")
conf=$folder/slurm.conf

start() {
    mkdir -p "$folder"/{munge,state,spool,log,bin}
    head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 600 "$folder/munge/key"
    # --force: a folder that only its owner may enter is none too narrow here
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    printf 'Name=gpu File=%s\n' /dev/zero /dev/full > "$folder/gres.conf"
    cat > "$conf" <<END
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=10
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=0,sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
DefMemPerCPU=100
MinJobAge=7200
ReturnToService=2
MailProg=/bin/true
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=256000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes=localhost Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=localhost MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
END
    # the Slurm plugin's job step drops all SLURM_ variables before its srun: a configuration outside /etc is lost there
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$conf" "$(command -v srun)" > "$folder/bin/srun"
    chmod +x "$folder/bin/srun"
    export SLURM_CONF=$conf
    slurmctld
    slurmd -N localhost
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --partition gpu --format %T 2>/dev/null)" = idle ] && return
        sleep 1
    done
    tail -n 20 "$folder"/log/*.log >&2
    echo "the node did not become idle in a minute" >&2
    return 1
}

stop() {
    export SLURM_CONF=$conf
    scancel --user="$(id -un)" 2>/dev/null || true
    for file in "$folder"/slurmd.pid "$folder"/slurmctld.pid "$folder"/munge/pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
    done
}

"$1"
