package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// question is one that a machine waits for the answer of.
type question struct {
	id, text string
	choices  []string // their keys are 0, 1, …
	standard int32
	answered func(choice int)
}

const movedText = "msg.uuid.altered:Was this virtual machine moved, or was it copied?"

// pose puts a question to whoever looks at the machine.
func (l *Lab) pose(vm *vmState, q question) {
	vm.mu.Lock()
	vm.questions++
	q.id = fmt.Sprint(vm.questions)
	vm.question = &q
	vm.mu.Unlock()
	info := &types.VirtualMachineQuestionInfo{Id: q.id, Text: q.text}
	info.Choice.DefaultIndex = q.standard
	for i, choice := range q.choices {
		info.Choice.ChoiceInfo = append(info.Choice.ChoiceInfo, &types.ElementDescription{
			Description: types.Description{Label: choice, Summary: choice}, Key: fmt.Sprint(i),
		})
	}
	l.showQuestion(vm, info)
}

func (l *Lab) showQuestion(vm *vmState, info any) {
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	ctx := l.freshContext()
	ctx.WithLock(sim, func() {
		ctx.Update(sim, []types.PropertyChange{{Name: "runtime.question", Val: info}, {Name: "summary.runtime.question", Val: info}})
	})
}

// withdraw takes a question back: it is answered, or nobody has to any more. It returns nil if another one is open.
func (vm *vmState) withdraw(id string) *question {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	q := vm.question
	if q == nil || q.id != id {
		return nil
	}
	vm.question = nil
	return q
}

func (vm *vmState) asked() *question {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return vm.question
}

// AnswerVM is a call that vcsim does not have.
func (m *machine) AnswerVM(_ *simulator.Context, req *types.AnswerVM) soap.HasFault {
	body := new(methods.AnswerVMBody)
	q := m.vm.asked()
	if q == nil || q.id != req.QuestionId {
		body.Fault_ = simulator.Fault("", new(types.ConcurrentAccess)) // it was answered by somebody else
		return body
	}
	for i := range q.choices {
		if req.AnswerChoice == fmt.Sprint(i) && m.vm.withdraw(q.id) != nil {
			go func() { // the call holds the machine's lock
				m.lab.showQuestion(m.vm, nil)
				q.answered(i)
			}()
			body.Res = new(types.AnswerVMResponse)
			return body
		}
	}
	body.Fault_ = invalidArgument("answerChoice")
	return body
}

// ask blocks a task until its question is answered. The first answer is to cancel.
func (t *slowTask) ask(rule *faultRule) types.BaseMethodFault {
	answer := make(chan int, 1)
	q := question{text: rule.Text, choices: rule.Choices, answered: func(i int) { answer <- i }}
	if q.text == "" {
		q.text, q.choices, q.standard = movedText, []string{"Cancel", "I _Moved It", "I _Copied It"}, 2
	} else if len(q.choices) == 0 {
		q.choices = []string{"Cancel", "Continue"}
	}
	t.lab.pose(t.vm, q)
	for {
		select {
		case choice := <-answer:
			if choice == 0 {
				return &types.GenericVmConfigFault{Reason: "Operation canceled by the user."}
			}
			return nil
		case <-time.After(20 * time.Millisecond):
			if t.lab.state(t.vm.ref) != t.vm {
				return &types.ManagedObjectNotFound{Obj: t.vm.ref}
			}
		}
	}
}
