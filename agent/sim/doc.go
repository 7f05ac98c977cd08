// Package sim is the outside world of a simulated ECS container instance:
// the instance metadata service, the AWS APIs, the ECS agent's introspection
// port and the Docker Engine, as http.Handlers over one state.
//
// A World holds everything that is shared (account, clusters, request rates,
// faults, call log) and one or more Nodes (instance, tags, notices, container
// instance). Each service is one file of handlers over that state, and the
// shared layer in front of all of them (serve in exchange.go) applies faults
// and keeps the call log. An AWS API is a table of operations (see ec2.go,
// ecs.go) with one line in newAPIs; signatures, permissions, request rates and
// the wire protocol come with it.
//
// The handlers run on any net.Listener. On a Network they run in memory, so
// that unmodified AWS clients work inside a testing/synctest bubble, where an
// hour of polling takes a moment.
package sim
