// SPDX-License-Identifier: Apache-2.0

// Drives one container through a shim's socket with the packages that containerd itself uses. It
// prints one JSON object: what each call answered. Start and end of the shim are the caller's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/runtime/v2/task"
	"github.com/containerd/ttrpc"
	ptypes "github.com/gogo/protobuf/types"
)

const sigkill = 9

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

type process struct {
	Pid    uint32
	Status uint32
	Exited time.Time
}

// An exec from its addition to its deletion, with a Wait that begins before it starts.
func runExec(ctx context.Context, shim task.TaskService, id, execID, script string) process {
	spec, err := json.Marshal(map[string]interface{}{
		"args": []string{"sh", "-c", script}, "cwd": "/", "env": []string{"PATH=/bin"},
		"user": map[string]int{"uid": 0, "gid": 0},
	})
	check("marshal", err)
	_, err = shim.Exec(ctx, &task.ExecProcessRequest{ID: id, ExecID: execID, Spec: &ptypes.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: spec}})
	check("Exec", err)

	waited := make(chan *task.WaitResponse)
	go func() {
		answer, err := shim.Wait(ctx, &task.WaitRequest{ID: id, ExecID: execID})
		check("Wait for exec", err)
		waited <- answer
	}()
	started, err := shim.Start(ctx, &task.StartRequest{ID: id, ExecID: execID})
	check("Start exec", err)
	wait := <-waited
	deleted, err := shim.Delete(ctx, &task.DeleteRequest{ID: id, ExecID: execID})
	check("Delete exec", err)
	if deleted.ExitStatus != wait.ExitStatus || !deleted.ExitedAt.Equal(wait.ExitedAt) || deleted.Pid != started.Pid {
		check("exec", fmt.Errorf("Wait says %v, Delete says %v, Start %v", wait, deleted, started))
	}
	return process{started.Pid, wait.ExitStatus, wait.ExitedAt}
}

func main() {
	address, id, bundle := os.Args[1], os.Args[2], os.Args[3]
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	check("dial", err)
	client := ttrpc.NewClient(conn)
	shim := task.NewTaskClient(client)
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), "e2e"), 30*time.Second)
	defer cancel()
	result := map[string]interface{}{}

	_, err = shim.State(ctx, &task.StateRequest{ID: id})
	result["StateBeforeCreateIsNotFound"] = errdefs.IsNotFound(errdefs.FromGRPC(err))

	created, err := shim.Create(ctx, &task.CreateTaskRequest{ID: id, Bundle: bundle})
	check("Create", err)
	started, err := shim.Start(ctx, &task.StartRequest{ID: id})
	check("Start", err)
	state, err := shim.State(ctx, &task.StateRequest{ID: id})
	check("State", err)
	result["Pids"] = []uint32{created.Pid, started.Pid, state.Pid}
	result["Status"] = state.Status.String()
	result["NotExited"] = state.ExitedAt.IsZero()

	result["Exec"] = runExec(ctx, shim, id, "one", "exit 5")
	many := make([]process, 20)
	var group sync.WaitGroup
	for i := range many {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			many[i] = runExec(ctx, shim, id, fmt.Sprintf("many-%d", i), fmt.Sprintf("exit %d", i))
		}(i)
	}
	group.Wait()
	statuses := []uint32{}
	for _, p := range many {
		statuses = append(statuses, p.Status)
	}
	result["Execs"] = statuses

	short, cancelShort := context.WithTimeout(ctx, 100*time.Millisecond)
	_, err = shim.Wait(short, &task.WaitRequest{ID: id})
	cancelShort()
	result["WaitEndsWithItsContext"] = err != nil

	_, err = shim.Kill(ctx, &task.KillRequest{ID: id, Signal: sigkill})
	check("Kill", err)
	wait, err := shim.Wait(ctx, &task.WaitRequest{ID: id})
	check("Wait", err)
	result["Exit"] = process{created.Pid, wait.ExitStatus, wait.ExitedAt}
	_, err = shim.Kill(ctx, &task.KillRequest{ID: id, Signal: sigkill})
	result["KillAfterExitIsNotFound"] = errdefs.IsNotFound(errdefs.FromGRPC(err))
	again, err := shim.Wait(ctx, &task.WaitRequest{ID: id})
	check("Wait again", err)
	deleted, err := shim.Delete(ctx, &task.DeleteRequest{ID: id})
	check("Delete", err)
	result["AllAgree"] = again.ExitStatus == wait.ExitStatus && again.ExitedAt.Equal(wait.ExitedAt) &&
		deleted.ExitStatus == wait.ExitStatus && deleted.ExitedAt.Equal(wait.ExitedAt)

	check("close", client.Close())
	check("print", json.NewEncoder(os.Stdout).Encode(result))
}
