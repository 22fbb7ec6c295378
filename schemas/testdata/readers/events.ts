// What the generated types allow, and what not.
import type {AgentSession} from './agent.session.producer'
import type {IvrSession} from './ivr.session.producer'
import type {ConnectUsage} from './connect.usage.producer'

const attributes = {specversion: '1.0', id: 's-1', source: '/desk', time: '2026-10-14T16:00:00Z', tenantid: 'acme'} as const
const startTime = '2026-10-14T08:00:00Z'

export const session: AgentSession = {...attributes, type: 'agent.session', data: {agentId: 'a', startTime, endTime: 1791964803000}}
export const stay: IvrSession = {...attributes, type: 'ivr.session', data: {entryPointId: 'e', startTime, revision: 1}}
export const usage: ConnectUsage = {...attributes, type: 'connect.usage', data: {channel: 'sms', quantity: '1.5', voided: true}}

// @ts-expect-error: an agent is needed
export const nobody: AgentSession = {...attributes, type: 'agent.session', data: {startTime}}
// @ts-expect-error: data is needed
export const empty: AgentSession = {...attributes, type: 'agent.session'}
// @ts-expect-error: the type is another
export const other: AgentSession = {...attributes, type: 'ivr.session', data: {agentId: 'a', startTime}}
// @ts-expect-error: a misspelt name
export const misspelt: AgentSession = {...attributes, type: 'agent.session', data: {agentId: 'a', startTime, endtime: startTime}}
// @ts-expect-error: tenantid is needed
export const homeless: ConnectUsage = {...attributes, tenantid: undefined, type: 'connect.usage', data: {channel: 'sms', quantity: 1}}
