/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a configuration, and the exact words in which an operator reads it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/oci/spec.h"

#include "test/unit/unit.h"

struct bad {
        const char *json;
        const char *message;
};

/* Properties of a process that is otherwise fine; then the whole text. */
static const struct bad bad_processes[] = {
        {"'cwd':'/'", "process.args: at least one is needed"},
        {"'cwd':'/','args':[]", "process.args: at least one is needed"},
        {"'cwd':'/','args':null", "process.args: at least one is needed"},
        {"'cwd':'/','args':'sh'", "process.args: expected a list, found a string"},
        {"'cwd':'/','args':['a',1]", "process.args[1]: expected a string, found a number"},
        {"'cwd':'/','args':['a',null]", "process.args[1]: expected a string, found null"},
        {"'cwd':'/','args':['a\\u0000b']", "process.args[0]: NUL in a string"},
        {"'args':['a']", "process.cwd: missing"},
        {"'args':['a'],'cwd':null", "process.cwd: missing"},
        {"'args':['a'],'cwd':''", "process.cwd: empty"},
        {"'args':['a'],'cwd':'tmp'", "process.cwd: 'tmp' is not an absolute path"},
        {"'args':['a'],'cwd':7", "process.cwd: expected a string, found a number"},
        {"'args':['a'],'cwd':'/','cwd':'/'", "process.cwd: given twice"},
        {"@,'env':['A=b','']", "process.env: item 1 is empty"},
        {"@,'terminal':1", "process.terminal: expected a boolean, found a number"},
        {"@,'terminal':'true'", "process.terminal: expected a boolean, found a string"},
        {"@,'consoleSize':{'height':65536,'width':1}",
         "process.consoleSize.height: number out of range"},
        {"@,'user':'root'", "process.user: expected an object, found a string"},
        {"@,'user':{'uid':'0'}", "process.user.uid: expected an integer, found a string"},
        {"@,'user':{'uid':-1}", "process.user.uid: number out of range"},
        {"@,'user':{'uid':4294967295}", "process.user.uid: number out of range"},
        {"@,'user':{'gid':4294967295}", "process.user.gid: number out of range"},
        {"@,'user':{'additionalGids':[4294967295]}",
         "process.user.additionalGids[0]: number out of range"},
        {"@,'user':{'uid':4294967296}", "process.user.uid: number out of range"},
        {"@,'user':{'uid':18446744073709551615}", "process.user.uid: number out of range"},
        {"@,'user':{'uid':18446744073709551616}", "process.user.uid: number out of range"},
        {"@,'user':{'uid':-9223372036854775809}", "process.user.uid: number out of range"},
        {"@,'user':{'gid':1.0}",
         "process.user.gid: expected an integer, found a number with a fraction or an exponent"},
        {"@,'user':{'gid':1e3}",
         "process.user.gid: expected an integer, found a number with a fraction or an exponent"},
        {"@,'user':{'umask':512}", "process.user.umask: number out of range"},
        {"@,'user':{'additionalGids':[1,-2]}",
         "process.user.additionalGids[1]: number out of range"},
        {"@,'user':{'additionalGids':[null]}",
         "process.user.additionalGids[0]: expected an integer, found null"},
        {"@,'user':{'uid':1,'gid':2,'\\u0075id':0}", "process.user['\\u0075id']: given twice"},
        {"@,'capabilities':['CAP_KILL']", "process.capabilities: expected an object, found a list"},
        {"@,'capabilities':{'ambient':[7]}",
         "process.capabilities.ambient[0]: expected a string, found a number"},
        {"@,'rlimits':[{'type':'RLIMIT_X','soft':1,'hard':1}]",
         "process.rlimits[0].type: unknown value 'RLIMIT_X'"},
        {"@,'rlimits':[{'type':'RLIMIT_CPU','soft':1}]", "process.rlimits[0].hard: missing"},
        {"@,'rlimits':[{'type':'RLIMIT_CPU','hard':1}]", "process.rlimits[0].soft: missing"},
        {"@,'rlimits':[{'soft':1,'hard':1}]", "process.rlimits[0].type: missing"},
        {"@,'rlimits':[{'type':'RLIMIT_CPU','soft':2,'hard':1}]",
         "process.rlimits[0].soft: larger than hard"},
        {"@,'rlimits':[{'type':'RLIMIT_CPU','soft':-1,'hard':1}]",
         "process.rlimits[0].soft: number out of range"},
        {"@,'rlimits':[{'type':'RLIMIT_CPU','soft':1,'hard':1},"
         "{'type':'RLIMIT_AS','soft':1,'hard':1},{'type':'RLIMIT_CPU','soft':1,'hard':1}]",
         "process.rlimits[2].type: RLIMIT_CPU is given twice"},
        {"@,'rlimits':['RLIMIT_CPU']", "process.rlimits[0]: expected an object, found a string"},
        {"@,'oomScoreAdj':1001", "process.oomScoreAdj: number out of range"},
        {"@,'oomScoreAdj':-1001", "process.oomScoreAdj: number out of range"},
        {"@,'oomScoreAdj':18446744073709551615", "process.oomScoreAdj: number out of range"},
};

static const struct bad bad_scheduling[] = {
        {"@,'scheduler':'SCHED_IDLE'", "process.scheduler: expected an object, found a string"},
        {"@,'scheduler':{'nice':1}", "process.scheduler.policy: missing"},
        {"@,'scheduler':{'policy':'SCHED_X'}", "process.scheduler.policy: unknown value 'SCHED_X'"},
        {"@,'scheduler':{'policy':'SCHED_OTHER','nice':20}",
         "process.scheduler.nice: number out of range"},
        {"@,'scheduler':{'policy':'SCHED_OTHER','nice':-21}",
         "process.scheduler.nice: number out of range"},
        {"@,'scheduler':{'policy':'SCHED_IDLE','nice':1}",
         "process.scheduler.nice: only for SCHED_OTHER and SCHED_BATCH"},
        {"@,'scheduler':{'policy':'SCHED_FIFO'}",
         "process.scheduler.priority: SCHED_FIFO needs one of 1 to 99"},
        {"@,'scheduler':{'policy':'SCHED_RR','priority':100}",
         "process.scheduler.priority: number out of range"},
        {"@,'scheduler':{'policy':'SCHED_BATCH','priority':1}",
         "process.scheduler.priority: only for SCHED_FIFO and SCHED_RR"},
        {"@,'scheduler':{'policy':'SCHED_RR','priority':1,'deadline':1}",
         "process.scheduler.deadline: only for SCHED_DEADLINE"},
        {"@,'scheduler':{'policy':'SCHED_DEADLINE','runtime':3,'deadline':2,'period':9}",
         "process.scheduler.runtime: SCHED_DEADLINE needs 0 < runtime <= deadline <= period"},
        {"@,'scheduler':{'policy':'SCHED_OTHER','flags':['SCHED_FLAG_X']}",
         "process.scheduler.flags[0]: unknown value 'SCHED_FLAG_X'"},
        {"@,'ioPriority':{'priority':1}", "process.ioPriority.class: missing"},
        {"@,'ioPriority':{'class':'IOPRIO_CLASS_NONE'}",
         "process.ioPriority.class: unknown value 'IOPRIO_CLASS_NONE'"},
        {"@,'ioPriority':{'class':'IOPRIO_CLASS_BE','priority':8}",
         "process.ioPriority.priority: number out of range"},
        {"@,'execCPUAffinity':{'initial':'0-'}",
         "process.execCPUAffinity.initial: '0-' is not a list like 0-3,7"},
        {"@,'execCPUAffinity':{'initial':'3-1'}",
         "process.execCPUAffinity.initial: '3-1' is not a list like 0-3,7"},
        {"@,'execCPUAffinity':{'final':'1,'}",
         "process.execCPUAffinity.final: '1,' is not a list like 0-3,7"},
        {"@,'execCPUAffinity':{'final':'1 2'}",
         "process.execCPUAffinity.final: '1 2' is not a list like 0-3,7"},
        {"@,'execCPUAffinity':{'final':'99999999999999999999'}",
         "process.execCPUAffinity.final: '99999999999999999999' is not a list like 0-3,7"},
        {"@,'execCPUAffinity':{'final':'8192'}",
         "process.execCPUAffinity.final: 8192 is above 8191"},
        {"@,'execCPUAffinity':{'final':7}",
         "process.execCPUAffinity.final: expected a string, found a number"},
};

static const struct bad unsupported_in_process[] = {
        {"@,'scheduler':{'policy':'SCHED_ISO'}",
         "process.scheduler.policy: SCHED_ISO is not supported"},
        {"@,'scheduler':{'policy':'SCHED_OTHER','flags':['SCHED_FLAG_UTIL_CLAMP_MAX']}",
         "process.scheduler.flags: SCHED_FLAG_UTIL_CLAMP_MIN and _MAX is not supported"},
};

static const struct bad harmless_in_process[] = {
        {"@,'scheduler':{},'ioPriority':null,'execCPUAffinity':{'initial':'','final':''}", NULL},
        {"@,'user':{},'rlimits':[],'capabilities':{},'env':[]", NULL},
        {"@,'commandLine':'for another platform','made-up':{'x':[1.5e9,-0,{}]}", NULL},
        {"@,'rlimits':[{'type':'RLIMIT_STACK','soft':18446744073709551615,"
         "'hard':18446744073709551615}]",
         NULL},
};

/* Whole documents: $ stands for an ociVersion and a root, which every one needs. */
static const struct bad bad_specs[] = {
        {"{'root':{'path':'r'}}", "ociVersion: missing"},
        {"{'ociVersion':'2.0.0'}", "ociVersion: '2.0.0' is not a version 1.x.y"},
        {"{'ociVersion':'1.0'}", "ociVersion: '1.0' is not a version 1.x.y"},
        {"{'ociVersion':'1.0.'}", "ociVersion: '1.0.' is not a version 1.x.y"},
        {"{'ociVersion':'1.0.0-'}", "ociVersion: '1.0.0-' is not a version 1.x.y"},
        {"{'ociVersion':'1.0.0x'}", "ociVersion: '1.0.0x' is not a version 1.x.y"},
        {"{'ociVersion':'10.0.0'}", "ociVersion: '10.0.0' is not a version 1.x.y"},
        {"{'ociVersion':''}", "ociVersion: '' is not a version 1.x.y"},
        {"{'ociVersion':1}", "ociVersion: expected a string, found a number"},
        {"{'ociVersion':'1.0.0'}", "root: missing"},
        {"{'ociVersion':'1.0.0','root':{}}", "root.path: missing"},
        {"{'ociVersion':'1.0.0','root':{'path':''}}", "root.path: empty"},
        {"{$,'hostname':'12345678901234567890123456789012345678901234567890123456789012345'}",
         "hostname: longer than 64 bytes"},
        {"{$,'annotations':{'':'x'}}", "annotations: empty name"},
        {"{$,'annotations':{'a.b/c':1}}",
         "annotations['a.b/c']: expected a string, found a number"},
        {"{$,'annotations':{'a':'b','a':'b'}}", "annotations.a: given twice"},
        {"{$,'annotations':{'x\\u0000y':'b'}}",
         "annotations['x\\u0000y']: NUL in the name of a property"},
        {"{$,'process':7}", "process: expected an object, found a number"},
        {"{$,'process':{}}", "process.cwd: missing"},
        {"{$,'mounts':{}}", "mounts: expected a list, found an object"},
        {"{$,'mounts':[{}]}", "mounts[0].destination: missing"},
        {"{$,'mounts':[{'destination':'/a'},{'destination':''}]}", "mounts[1].destination: empty"},
        {"{$,'mounts':[{'destination':'/a','options':[0]}]}",
         "mounts[0].options[0]: expected a string, found a number"},
        {"{$,'hooks':{'poststop':[{}]}}", "hooks.poststop[0].path: missing"},
        {"{$,'hooks':{'prestart':[{'path':'x'}]}}",
         "hooks.prestart[0].path: 'x' is not an absolute path"},
        {"{$,'hooks':{'createRuntime':[{'path':'/x','timeout':0}]}}",
         "hooks.createRuntime[0].timeout: must be greater than zero"},
        {"{$,'hooks':{'createContainer':[{'path':'/x','timeout':-1}]}}",
         "hooks.createContainer[0].timeout: number out of range"},
        {"{$,'hooks':{'startContainer':[{'path':'/x','args':'y'}]}}",
         "hooks.startContainer[0].args: expected a list, found a string"},
        {"{$,'hooks':{'poststart':[{'path':''}]}}", "hooks.poststart[0].path: empty"},
        {"{$,'linux':[]}", "linux: expected an object, found a list"},
        {"{$,'linux':{'namespaces':[{'type':'net'}]}}",
         "linux.namespaces[0].type: unknown value 'net'"},
        {"{$,'linux':{'namespaces':[{'path':'/x'}]}}", "linux.namespaces[0].type: missing"},
        {"{$,'linux':{'namespaces':[{'type':'pid'},{'type':'pid'}]}}",
         "linux.namespaces[1].type: 'pid' is given twice"},
        {"{$,'linux':{'namespaces':[{'type':'pid','path':'proc/1/ns/pid'}]}}",
         "linux.namespaces[0].path: 'proc/1/ns/pid' is not an absolute path"},
        {"{$,'linux':{'uidMappings':[{'containerID':0,'hostID':0,'size':0}]}}",
         "linux.uidMappings[0].size: must be greater than zero"},
        {"{$,'linux':{'uidMappings':[{'containerID':0,'hostID':0}]}}",
         "linux.uidMappings[0].size: missing"},
        {"{$,'linux':{'gidMappings':[{'containerID':1,'hostID':0,'size':4294967295}]}}",
         "linux.gidMappings[0].size: the range ends beyond the last id"},
        {"{$,'linux':{'gidMappings':[{'containerID':0,'hostID':-1,'size':1}]}}",
         "linux.gidMappings[0].hostID: number out of range"},
        {"{$,'linux':{'devices':[{'type':'x','path':'/dev/x'}]}}",
         "linux.devices[0].type: unknown value 'x'"},
        {"{$,'linux':{'devices':[{'type':'c','path':'/dev/x','major':1}]}}",
         "linux.devices[0].minor: missing"},
        {"{$,'linux':{'devices':[{'type':'c','path':'dev/x','major':1,'minor':1}]}}",
         "linux.devices[0].path: 'dev/x' is not an absolute path"},
        {"{$,'linux':{'devices':[{'type':'c','path':'/dev/x','major':1,'minor':1,'uid':4294967295}]}}",
         "linux.devices[0].uid: number out of range"},
        {"{$,'linux':{'devices':[{'type':'c','path':'/dev/x','major':-1,'minor':1}]}}",
         "linux.devices[0].major: number out of range"},
        {"{$,'linux':{'rootfsPropagation':'Shared'}}",
         "linux.rootfsPropagation: unknown value 'Shared'"},
        {"{$,'linux':{'maskedPaths':['/a','b']}}",
         "linux.maskedPaths[1]: 'b' is not an absolute path"},
        {"{$,'linux':{'readonlyPaths':['']}}",
         "linux.readonlyPaths[0]: '' is not an absolute path"},
        {"{$,'linux':{'sysctl':{'net/../kernel/panic':'1'}}}",
         "linux.sysctl['net/../kernel/panic']: not the name of a sysctl"},
        {"{$,'linux':{'sysctl':{'/kernel.panic':'1'}}}",
         "linux.sysctl['/kernel.panic']: not the name of a sysctl"},
        {"{$,'linux':{'sysctl':{'net.':'1'}}}", "linux.sysctl['net.']: not the name of a sysctl"},
        {"{$,'linux':{'sysctl':{'kernel.shmmax':1}}}",
         "linux.sysctl['kernel.shmmax']: expected a string, found a number"},
        {"{$,'linux':{'seccomp':{}}}", "linux.seccomp.defaultAction: missing"},
        {"{$,'linux':{'seccomp':{'defaultAction':'ALLOW'}}}",
         "linux.seccomp.defaultAction: unknown value 'ALLOW'"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','defaultErrnoRet':1}}}",
         "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW has no use for it"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':65536}}}",
         "linux.seccomp.defaultErrnoRet: number out of range"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','architectures':['amd64']}}}",
         "linux.seccomp.architectures[0]: unknown value 'amd64'"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','flags':['X']}}}",
         "linux.seccomp.flags[0]: unknown value 'X'"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','syscalls':["
         "{'names':[],'action':'SCMP_ACT_ALLOW'}]}}}",
         "linux.seccomp.syscalls[0].names: at least one is needed"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','syscalls':[{'names':['x']}]}}}",
         "linux.seccomp.syscalls[0].action: missing"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','syscalls':[{'names':['x'],"
         "'action':'SCMP_ACT_ALLOW','args':[{'index':6,'value':1,'op':'SCMP_CMP_EQ'}]}]}}}",
         "linux.seccomp.syscalls[0].args[0].index: number out of range"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','syscalls':[{'names':['x'],"
         "'action':'SCMP_ACT_ALLOW','args':[{'index':0,'value':1,'op':'=='}]}]}}}",
         "linux.seccomp.syscalls[0].args[0].op: unknown value '=='"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','listenerPath':'x'}}}",
         "linux.seccomp.listenerPath: 'x' is not an absolute path"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','listenerMetadata':'x'}}}",
         "linux.seccomp.listenerMetadata: needs a listenerPath"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['x'],"
         "'action':'SCMP_ACT_NOTIFY'}]}}}",
         "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','listenerPath':'/x',"
         "'syscalls':[{'names':['read','write'],'action':'SCMP_ACT_NOTIFY'}]}}}",
         "linux.seccomp.syscalls[0].names: 'write' cannot have SCMP_ACT_NOTIFY"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_NOTIFY','listenerPath':'/x'}}}",
         "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default"},
        {"{$,'linux':{'netDevices':{'a b':{}}}}",
         "linux.netDevices['a b']: not the name of a network device"},
        {"{$,'linux':{'netDevices':{'sixteen_letters_':{}}}}",
         "linux.netDevices.sixteen_letters_: not the name of a network device"},
        {"{$,'linux':{'netDevices':{'':{}}}}",
         "linux.netDevices['']: not the name of a network device"},
        {"{$,'linux':{'netDevices':{'a':{'name':'..'}}}}",
         "linux.netDevices.a.name: '..' is not the name of a network device"},
        {"{$,'linux':{'netDevices':{'a':{'name':'c%s'}}}}",
         "linux.netDevices.a.name: 'c%s' is not the name of a network device"},
        {"{$,'linux':{'netDevices':{'a':{'name':'c%d%d'}}}}",
         "linux.netDevices.a.name: 'c%d%d' is not the name of a network device"},
        {"{$,'linux':{'netDevices':{'a%d':{}}}}",
         "linux.netDevices['a%d']: not the name of a network device"},
        {"{$,'linux':{'netDevices':{'a':{'name':'c'},'b':{'name':'c'}}}}",
         "linux.netDevices.b: the name 'c' is given twice"},
        {"{$,'linux':{'netDevices':{'a':3}}}",
         "linux.netDevices.a: expected an object, found a number"},
        {"{$,'mounts':[{'destination':'/a','uidMappings':[{'containerID':0}]}]}",
         "mounts[0].uidMappings[0].hostID: missing"},
        {"{$,'mounts':[{'destination':'/a','gidMappings':"
         "[{'containerID':0,'hostID':0,'size':1}]}]}",
         "mounts[0].uidMappings: missing beside its counterpart"},
        {"{$,'linux':{'seccomp':{'defaultAction':'SCMP_ACT_LOG','syscalls':[{'names':['x'],"
         "'action':'SCMP_ACT_ALLOW','args':[{'index':0,'value':-1,'op':'SCMP_CMP_EQ'}]}]}}}",
         "linux.seccomp.syscalls[0].args[0].value: number out of range"},
};

static const struct bad bad_machines[] = {
        {"{$,'linux':{'memoryPolicy':{'nodes':'0'}}}", "linux.memoryPolicy.mode: missing"},
        {"{$,'linux':{'memoryPolicy':{'mode':'BIND','nodes':'0'}}}",
         "linux.memoryPolicy.mode: unknown value 'BIND'"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_BIND'}}}",
         "linux.memoryPolicy.nodes: MPOL_BIND needs some"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_PREFERRED','flags':['MPOL_F_STATIC_NODES']}}}",
         "linux.memoryPolicy.nodes: MPOL_PREFERRED needs some"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_DEFAULT','nodes':'0'}}}",
         "linux.memoryPolicy.nodes: MPOL_DEFAULT takes none"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_LOCAL','flags':['MPOL_F_NUMA_BALANCING']}}}",
         "linux.memoryPolicy.flags: MPOL_LOCAL takes none"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_BIND','nodes':'0','flags':"
         "['MPOL_F_STATIC_NODES','MPOL_F_RELATIVE_NODES']}}}",
         "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each "
         "other"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_BIND','nodes':'1024'}}}",
         "linux.memoryPolicy.nodes: 1024 is above 1023"},
        {"{$,'linux':{'memoryPolicy':{'mode':'MPOL_BIND','nodes':'0','flags':['X']}}}",
         "linux.memoryPolicy.flags[0]: unknown value 'X'"},
        {"{$,'linux':{'personality':{'domain':'LINUX64'}}}",
         "linux.personality.domain: unknown value 'LINUX64'"},
        {"{$,'linux':{'timeOffsets':{'boottime':{'secs':1,'nanosecs':1000000000}}}}",
         "linux.timeOffsets.boottime.nanosecs: number out of range"},
        {"{$,'linux':{'timeOffsets':{'monotonic':{'nanosecs':-1}}}}",
         "linux.timeOffsets.monotonic.nanosecs: number out of range"},
        {"{$,'linux':{'timeOffsets':{'realtime':{'secs':1}}}}",
         "linux.timeOffsets: only monotonic and boottime have an offset"},
        {"{$,'linux':{'resources':{'blockIO':{'weight':9}}}}",
         "linux.resources.blockIO.weight: number out of range"},
        {"{$,'linux':{'resources':{'blockIO':{'leafWeight':1001}}}}",
         "linux.resources.blockIO.leafWeight: number out of range"},
        {"{$,'linux':{'resources':{'blockIO':{'weightDevice':[{'major':8,'weight':10}]}}}}",
         "linux.resources.blockIO.weightDevice[0].minor: missing"},
        {"{$,'linux':{'resources':{'blockIO':{'throttleReadBpsDevice':[{'major':8,'minor':0}]}}}}",
         "linux.resources.blockIO.throttleReadBpsDevice[0].rate: missing"},
        {"{$,'linux':{'resources':{'blockIO':{'throttleWriteIOPSDevice':"
         "[{'major':4096,'minor':0,'rate':1}]}}}}",
         "linux.resources.blockIO.throttleWriteIOPSDevice[0].major: number out of range"},
        {"{$,'linux':{'resources':{'network':{'classID':4294967296}}}}",
         "linux.resources.network.classID: number out of range"},
        {"{$,'linux':{'resources':{'network':{'priorities':[{'name':'a 1','priority':0}]}}}}",
         "linux.resources.network.priorities[0].name: unknown value 'a 1'"},
        {"{$,'linux':{'resources':{'rdma':{'a b':{'hcaHandles':3}}}}}",
         "linux.resources.rdma['a b']: not the name of a device"},
        {"{$,'linux':{'resources':{'rdma':{'mlx5_1':{'hcaHandles':-1}}}}}",
         "linux.resources.rdma.mlx5_1.hcaHandles: number out of range"},
};

static const struct bad unsupported_in_specs[] = {
        {"{$,'linux':{'personality':{'domain':'LINUX','flags':['X']}}}",
         "linux.personality.flags is not supported"},
};

static const struct bad harmless_in_specs[] = {
        {"{$,'linux':{'intelRdt':null,'personality':{},'memoryPolicy':{'mode':'','nodes':''},"
         "'netDevices':{},'timeOffsets':{'monotonic':{'secs':0,'nanosecs':0}},"
         "'resources':{'blockIO':{'weight':null,'weightDevice':[]},'network':{'classID':0},"
         "'rdma':{}}}}",
         NULL},
        {"{'ociVersion':'1.3.0-rc.1','root':{'path':'r'}}", NULL},
        {"{'ociVersion':'1.10.2+build.7','root':{'path':'r'}}", NULL},
        {"{$,'windows':{'a':1},'solaris':[],'vm':'x','zos':7}", NULL},
        {"{$,'linux':{'sysctl':{'net.ipv4.conf.eth0/100.forwarding':'1','net/core/somaxconn':'1'},"
         "'devices':[{'type':'p','path':'/dev/fifo'}]}}",
         NULL},
        {" {$ ,\t'process' :\n null }\r\n", NULL},
};

static const struct bad bad_resources[] = {
        {"[]", "resources: expected an object, found a list"},
        {"{'devices':[{'allow':true}]}", "resources.devices[0].access: missing"},
        {"{'devices':[{'access':'rx'}]}", "resources.devices[0].access: unknown value 'rx'"},
        {"{'devices':[{'type':'p','access':'r'}]}", "resources.devices[0].type: unknown value 'p'"},
        {"{'devices':[{'major':-2,'access':'r'}]}",
         "resources.devices[0].major: number out of range"},
        {"{'memory':{'limit':-2}}", "resources.memory.limit: number out of range"},
        {"{'memory':{'limit':9223372036854775808}}", "resources.memory.limit: number out of range"},
        {"{'memory':{'limit':'1G'}}",
         "resources.memory.limit: expected an integer, found a string"},
        {"{'memory':{'swappiness':101}}", "resources.memory.swappiness: number out of range"},
        {"{'memory':{'disableOOMKiller':0}}",
         "resources.memory.disableOOMKiller: expected a boolean, found a number"},
        {"{'cpu':{'shares':-1}}", "resources.cpu.shares: number out of range"},
        {"{'cpu':{'idle':2}}", "resources.cpu.idle: number out of range"},
        {"{'cpu':{'cpus':[0]}}", "resources.cpu.cpus: expected a string, found a list"},
        {"{'pids':{'limit':1.5}}",
         "resources.pids.limit: expected an integer, found a number with a fraction or an exponent"},
        {"{'pids':7}", "resources.pids: expected an object, found a number"},
        {"{'hugepageLimits':[{'pageSize':'2MB'}]}", "resources.hugepageLimits[0].limit: missing"},
        {"{'hugepageLimits':[{'pageSize':'2M','limit':1}]}",
         "resources.hugepageLimits[0].pageSize: unknown value '2M'"},
        {"{'hugepageLimits':[{'pageSize':'../x','limit':1}]}",
         "resources.hugepageLimits[0].pageSize: unknown value '../x'"},
        {"{'unified':{'../x':'1'}}", "resources.unified['../x']: not a file of a cgroup"},
        {"{'unified':{'a/b':'1'}}", "resources.unified['a/b']: not a file of a cgroup"},
        {"{'unified':{'pids.max':1}}",
         "resources.unified['pids.max']: expected a string, found a number"},
};

/* The text with ' for ", $ for what every spec needs and @ for what every process needs. */
static char *expand(const char *before, const char *text, const char *after)
{
        static const char spec_needs[] = "\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"}";
        static const char process_needs[] = "\"args\":[\"a\"],\"cwd\":\"/\"";
        char *out = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&out, &len);

        assert_non_null(f);
        (void)fputs(before, f);
        for (; *text; text++) {
                if (*text == '$')
                        (void)fputs(spec_needs, f);
                else if (*text == '@')
                        (void)fputs(process_needs, f);
                else
                        (void)fputc(*text == '\'' ? '"' : *text, f);
        }
        (void)fputs(after, f);
        (void)fclose(f);
        return out;
}

enum what { SPEC, PROCESS, RESOURCES };

static void check(const struct bad *bad, enum what what, int code)
{
        _cleanup_free_ char *text = NULL;
        struct arena *arena = arena_new(1u << 20);
        struct error err = ERROR_INIT;
        void *parsed = NULL;
        int r;

        text = expand(what == PROCESS ? "{" : "", bad->json, what == PROCESS ? "}" : "");
        if (what == SPEC)
                r = oci_spec_parse(text, strlen(text), arena, (struct oci_spec **)&parsed, &err);
        else if (what == PROCESS)
                r = oci_process_parse(text, strlen(text), arena, (struct oci_process **)&parsed,
                                      &err);
        else
                r = oci_resources_parse(text, strlen(text), arena, (struct oci_resources **)&parsed,
                                        &err);
        if (code == STATUS_OK && r < 0)
                fail_msg("%s: unexpectedly: %s", text, err.msg);
        if (code != STATUS_OK) {
                if (r == 0)
                        fail_msg("%s: went through; expected: %s", text, bad->message);
                assert_string_equal(err.msg, bad->message);
                assert_int_equal(err.code, code);
                assert_null(parsed);
        }
        arena_free(arena);
}

#define CHECK_ALL(table, what, code)                   \
        for (size_t i = 0; i < UNIT_COUNT(table); i++) \
        check(&(table)[i], what, code)

static void a_bad_process_is_refused_with_its_path(void **state)
{
        CHECK_ALL(bad_processes, PROCESS, STATUS_INVALID_ARGUMENT);
        CHECK_ALL(bad_scheduling, PROCESS, STATUS_INVALID_ARGUMENT);
        CHECK_ALL(unsupported_in_process, PROCESS, STATUS_UNIMPLEMENTED);
        CHECK_ALL(harmless_in_process, PROCESS, STATUS_OK);
}

static void a_bad_spec_is_refused_with_its_path(void **state)
{
        CHECK_ALL(bad_specs, SPEC, STATUS_INVALID_ARGUMENT);
        CHECK_ALL(bad_machines, SPEC, STATUS_INVALID_ARGUMENT);
}

static void what_is_not_supported_is_refused_by_name_unless_it_says_nothing(void **state)
{
        CHECK_ALL(unsupported_in_specs, SPEC, STATUS_UNIMPLEMENTED);
        CHECK_ALL(harmless_in_specs, SPEC, STATUS_OK);
}

static void bad_resources_are_refused_with_their_path(void **state)
{
        CHECK_ALL(bad_resources, RESOURCES, STATUS_INVALID_ARGUMENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_bad_process_is_refused_with_its_path),
                cmocka_unit_test(a_bad_spec_is_refused_with_its_path),
                cmocka_unit_test(what_is_not_supported_is_refused_by_name_unless_it_says_nothing),
                cmocka_unit_test(bad_resources_are_refused_with_their_path),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
