package schemas

// The Kafka topics of the event contract. Deployments may put a configured
// prefix before each.
const (
	// TopicAgent carries AgentSession events.
	TopicAgent = "usage.agent.v1"
	// TopicIVR carries IVRSession events.
	TopicIVR = "usage.ivr.v1"
	// TopicConnect carries ConnectUsage events.
	TopicConnect = "usage.connect.v1"
	// TopicRejected carries dead letters: the original key, value and headers,
	// plus the reason.
	TopicRejected = "usage.rejected.v1"
	// TopicRegistry carries changes to tenants, subscriptions and licences, on
	// one partition, so that all replicas see one order.
	TopicRegistry = "registry.commands.v1"
)

var typeTopics = [...]string{"", TopicAgent, TopicIVR, TopicConnect}

// Topic returns the topic that carries events of this type, without a prefix,
// or "" for no type of ours.
func (t Type) Topic() string {
	if int(t) >= len(typeTopics) {
		return ""
	}
	return typeTopics[t]
}
