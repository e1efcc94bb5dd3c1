---@meta neap.task

---@class neap.task
local task = {}

---A result that is there or will be: of a task that was spawned, or of one's own (`task.future`).
---@class neap.Future
local Future = {}

---Waits for the result. What the task raised comes as an error object: its own one, or ESCRIPT with
---`value` and `traceback`.
---@param timeout? number seconds; 0: only if it is there
---@return any ... the results
---@return neap.Error? err after nil; ETIMEDOUT when it did not come in time (it may still come)
function Future:await(timeout) end

---@return boolean done whether the result, or a failure, is there
function Future:done() end

---Cancels the task and what it has spawned: whatever it waits for raises ECANCELED, and so does every
---later wait. Idempotent.
function Future:cancel() end

---Gives a future of one's own its results.
---@param ... any
---@return boolean first false if it had some already
function Future:resolve(...) end

---Makes a future of one's own fail.
---@param err neap.Error|string
---@return boolean first
function Future:fail(err) end

---Runs `fn(...)` in a task of its own, a child of the current one. If it raises and nobody awaits it, the
---error is logged.
---@param fn function
---@param ... any
---@return neap.Future
function task.spawn(fn, ...) end

---Waits. 0 lets others have their turn.
---@param seconds number
---@return true
function task.sleep(seconds) end

---Lets other tasks and I/O have their turn: for loops that compute for long.
---@return true
function task.yield() end

---A future of one's own, to be completed by `resolve` or `fail`.
---@return neap.Future
function task.future() end

---@return number? seconds left of the current task's deadline, nil if it has none
function task.deadline() end

---@return boolean cancelled whether the current task was cancelled: for loops that never wait
function task.cancelled() end

---Runs `fn(...)` to its end even if the task is cancelled meanwhile: for what must be put in order.
---@param fn function
---@param ... any
---@return any ...
function task.shield(fn, ...) end

---A task, as it is seen by whoever holds it; it outlives what it stands for.
---@class neap.Task
local Task = {}

---What the task has computed: seconds of its thread's CPU time, in its own turns, with the coroutines that
---ran in them, without its children. It is counted from the first time anybody asks in this script state, as
---counting costs more than an empty turn does: the very first answer is 0. `account_cpu(true)` at the top of
---the script makes all answers whole.
---@return number seconds
function Task:cpu() end

---The running task. A request's handler runs in the request's.
---@return neap.Task
function task.current() end

---Begins to count the CPU time of tasks, or ends it; see `neap.Task:cpu`.
---@param on boolean
function task.account_cpu(on) end

---An error object.
---@param code string one of neap's codes
---@param message? string
---@return neap.Error
function task.error(code, message) end

return task
