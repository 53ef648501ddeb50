## The queue: jobs, operations, workers, senders, the system

# 任务
jobs = 任务
job = 任务
job-number = 任务 { $value }
job-state = 状态
job-kind = 类别
job-error = 错误文本
jobs-newer = { $count ->
   *[other] { $shown } 个新任务
}
jobs-no-match = 没有符合条件的任务。
jobs-none-yet = 已查看的任务中没有符合条件的。
jobs-partial = 没有索引的条件每次在 5,000 个任务中查找，后面还有任务可以查看。
jobs-look-on = 继续查找
jobs-start = 回到开头
jobs-first = 还没有任务。导入、发送、打标签、删除和回复都会产生任务。
state-ready = 等待中
state-scheduled = 已定时
state-running = 执行中
state-paused = 随批次暂停
state-parked = 等待其他版本
state-done = 已完成
state-dead = 已终止
state-cancelled = 已取消
kind-expand = 展开收件人
kind-start = 开始
kind-send-chunk = 发送
kind-import-chunk = 导入
kind-tag-chunk = 标签
kind-delete-chunk = 删除
kind-deliver = 消息
kind-probe = 探测
moment-scheduled-for = 定时于
moment-waits-since = 等待开始于
moment-at-work-since = 执行开始于
moment-held-since = 搁置开始于
job-chunk = 第 { $shown } 块
job-in-a-row = 连续失败次数
job-lease = 租约至
job-enqueued = 已入队
job-claimed-first = 首次领取
job-claimed = 已领取：第 { $shown } 次尝试
job-attempt = 第 { $shown } 次尝试
job-again = 再次执行于
event-failed = 失败
event-timed-out = 数据库耗时过长
event-postponed = 已推迟
event-crashed = 工作进程中断
event-lease-ended = 租约到期
event-unreadable = 无法读取
event-retried = 已重试
event-cancelled = 已取消
event-run-now = 立即执行
event-moved = 已改时间
job-of-batch = 它属于一个批次，请操作批次：
job-payload = 任务内容
job-new-time = 新的时间，时区：
job-was = 原时间：
act-job-retry = 重试 1 个任务
act-job-run = 立即执行 1 个任务
act-job-move = 设定时间
act-job-cancel-ask = 取消 1 个任务…
act-job-cancel = 取消 1 个任务
job-ask-cancel = 要取消这个任务吗？
job-ask-cancel-what = 它将不再执行。如果它带有消息，该消息记为失败，除非可能已经发出。
job-ask-cancel-dead = 它保持未完成，不再需要人处理。其历史与已结束的任务一样保留。
done-job-retried = 正在重试任务。
done-job-cancelled = 任务已取消。
done-job-run = 任务立即执行。
done-job-moved = 任务时间已更改。
unfit-running = 工作进程正在执行该任务：它会自行结束，或租约到期。
unfit-over = 任务已经结束。
unfit-dead = 任务已终止：请重试或取消。
unfit-not-dead = 只有已终止的任务可以重试。
unfit-due = 任务已可执行，正在等待工作进程。
unfit-of-batch = 任务属于一个批次：请操作批次。
unfit-paused = 任务所属批次已暂停：请恢复批次。
unfit-unknown = 只有其他版本认识该任务：该版本运行后会继续。

# 工作进程
workers-none = 没有工作进程：在有工作进程之前，不会发送、导入或删除任何内容。请运行“paceline worker”，或用“paceline serve”运行全部。
workers-mixed = 多个版本的工作进程同时在工作。升级期间属正常；升级后请停止旧版本。
workers-cut = 仅显示执行时间最长的 500 个任务。
worker-version = 版本 { $value }
worker-since = 始于
worker-jobs = { $count ->
    [0] 空闲
   *[other] 执行中的任务 { $shown } 个
}
workers-drained = 没有工作进程在接任务：已受理的内容会等到有一个继续为止。
worker-draining = 不接新任务
worker-taking = 正在接任务
worker-at-once = 个任务同时进行
worker-obeyed = 自
worker-soon = 一秒内生效
worker-places = 并发数…
worker-too-old = 该工作进程的版本不接受指令：请在其运行处停止它。
act-worker-drain = 排空该工作进程
act-worker-resume = 让该工作进程接任务
act-worker-places = 设置并发数
done-worker-drained = 该工作进程不再接新任务。它会做完手上的任务；重新启动后会再接任务。
done-worker-resumed = 该工作进程又开始接任务。
done-worker-changed = 该工作进程按此并发数运行，直到结束。重新启动的进程按配置运行。
bad-places = “{ $value }”不是有效的任务数。请填写 1 到 1,000 的整数。
worker-job-since = 执行开始于

# 发送方
senders = 发送方
sender = 发送方
sender-named = 发送方 { $value }
sender-health = 健康状况
sender-limit = 上限
sender-use = 占用
sender-today = 今日消息
sender-until = 至
sender-default = 按配置
sender-no-limit = 无上限
sender-full = 已占满
sender-not-known = 业务组合、质量评级和预热状态未知：网关尚未提供。
sender-free = 有余量
sender-booked = { $count ->
   *[other] 已排满 { $shown } 秒
}
health-active = 正常
health-stopped = 已停用
health-capped = 已达今日上限
health-failing = 网关不可用
health-throttled = 网关要求等待
sender-users = 谁在使用，谁在等待
sender-users-none = 没有进行中的批次使用该发送方。
sender-since = 开始于
sender-next = 下次查看
sender-singles = 等待中的单条消息
sender-singles-none = 没有回复或其他单条消息在等待该发送方。
sender-singles-count = { $shown } 条消息在等待
sender-singles-least = 至少 { $shown } 条消息在等待
sender-singles-since = 等待最久的始于
sender-single-turn = 轮到它
sender-new-limit = 每分钟消息数；留空表示按配置
act-sender-pause = 停用发送方
act-sender-resume = 恢复发送方
act-sender-pace = 设定上限
done-sender-paused = 发送方已停用，不再发出任何消息。
done-sender-resumed = 发送方已恢复。
done-sender-paced = 上限已设定。
bad-sender-rate = “{ $value }”不是有效的上限。请输入 1 到 6,000,000 的整数，或留空。

# 概览
lanes-counted = 统计于
look-dead = 查看已终止的任务
look-sender = 查看发送方
need-scheduler = { $count ->
    [0] 半分钟以来没有调度进程查看队列：定时、重试和回收都在等待。调度进程在运行吗？{ $value }
   *[other] { $shown } 分钟以来没有调度进程查看队列：定时、重试和回收都在等待。调度进程在运行吗？{ $value }
}
need-mixed = 同时运行着多个版本：{ $value }。升级期间属正常；升级后请停止旧版本。
need-disk = data_dir 所在磁盘已用 { $shown }%。写满后将无法接收任何内容：请腾出空间。{ $value }
history = 历史走势
span-1h = 1 小时
span-24h = 24 小时
span-7d = 7 天
plot-decided = 每分钟处理的收件人和行
plot-waiting = 等待中的任务
plot-behind = 落后秒数
plot-jobs = 每分钟任务数
plot-ended = 结束
plot-died = 终止
plot-most = 最高
plot-figures = 显示数据
kind-operation = 批量操作

# 批量操作
operations = 批量操作
operation = 批量操作
operation-number = 批量操作 { $value }
operations-none = 还没有对任务或批次的批量操作。请选择已终止或等待中的任务，然后对所有符合条件的任务操作：
operation-all-jobs-retry = 重试所有符合条件的任务…
operation-all-jobs-cancel = 取消所有符合条件的任务…
operation-all-jobs-run = 立即执行所有符合条件的任务…
operation-ask-jobs-retry = 要重试所有符合条件的任务吗？
operation-ask-jobs-cancel = 要取消所有符合条件的任务吗？
operation-ask-jobs-run = 要立即执行所有符合条件的任务吗？
operation-do-jobs-retry = { $count ->
   *[other] 重试 { $shown } 个任务
}
operation-do-jobs-cancel = { $count ->
   *[other] 取消 { $shown } 个任务
}
operation-do-jobs-run = { $count ->
   *[other] 立即执行 { $shown } 个任务
}
operation-fit-jobs = { $count ->
   *[other] { $shown } 个任务
}
operation-fit-jobs-least = 至少 { $shown } 个任务
operation-all-batches = 所有匹配的批次：
operation-all-batches-pause = 暂停…
operation-all-batches-resume = 恢复…
operation-all-batches-cancel = 取消…
operation-ask-batches-pause = 暂停所有匹配的批次？
operation-ask-batches-resume = 恢复所有匹配的批次？
operation-ask-batches-cancel = 取消所有匹配的批次？
operation-fit-batches = { $shown } 个批次匹配
operation-fit-batches-least = 至少 { $shown } 个批次匹配
operation-do-batches-pause = 暂停 { $shown } 个批次
operation-do-batches-resume = 恢复 { $shown } 个批次
operation-do-batches-cancel = 取消 { $shown } 个批次
operation-empty = 请先筛选列表：没有筛选条件时不代表全部。{ $value }
operation-left-out = 不包括的及原因：
operation-how = 按下按钮 10 秒后开始，在此之前可以撤销。只针对现在已有的；轮到时已变化的会跳过。
operation-rate = 每分钟任务数；留空表示尽快
operation-type = 请输入 { $shown } 以确认
operation-mistyped = 没有执行任何操作：这不是现在符合条件的数量。请看下面的数目。
operation-samples = 其中一部分
operation-act-retry = 重试
operation-act-cancel = 取消
operation-act-run = 立即执行
operation-act-pause = 暂停
operation-act-resume = 恢复
operation-target = 对象
operation-target-jobs = 任务
operation-target-batches = 批次
operation-status-waiting = 即将开始
operation-status-running = 进行中
operation-status-stopped = 已停止
operation-status-undone = 已撤销
operation-status-done = 已完成
operation-begins = 开始于
operation-dead = 它自己的任务已终止，因此停住了。请重试该任务，或停止此操作：
operation-matched = 符合条件
operation-done = 已执行
operation-skipped = 跳过
operation-no-rate = 尽快
operation-per-minute = 每分钟 { $shown } 个任务
operation-by = 操作人
operation-results = 逐个结果
operation-results-none = 尚未执行。
operation-result = 结果
operation-item-done = 已执行
operation-item-changed = 期间已发生变化。
operation-too-late = 它已开始，或已结束。
act-operation-stop = 停止操作
done-operation-undone = 操作已撤销，没有执行任何内容。
done-operation-stopped = 操作已停止，已执行的保持不变。

# 系统
system = 系统
system-version = 本进程
system-scheduler = 调度进程
system-checks = 检查
system-part = 部分
system-found = 结果
system-fine = 正常
system-wrong = 有问题
examination = 全部检查
examination-what = 会读取整个账本，并与网关的存储逐个编号比较，可能需要几分钟。与“paceline doctor”相同，作为任务运行。
examination-dead = 它的任务已失败，因此停滞。请重试该任务：
examination-waits = 等待工作进程
examination-looks-at = 正在检查
examination-fine = 一切正常
examination-wrong = { $shown } 处有问题
examination-compared = 已比较 { $shown } 条消息
examination-asked = 请求于
act-examine = 运行全部检查
kind-examination = 检查
system-settings = 本进程的配置
system-settings-all = 显示所有值
system-settings-set = 只显示已设置的值
system-key = 键
system-value = 值
system-source = 来源
system-migrations = 数据库结构的步骤
kind-cancel = 取消

# 行操作
acts = 操作
acts-of-batch = 批次 { $value } 的操作
acts-of-operation = 批量操作 { $value } 的操作
acts-of-sender = 发送方 { $value } 的操作
acts-of-job = 任务 { $value } 的操作
select-job = 选择任务 { $value }
selected-job-retry = 重试所选任务…
selected-job-run = 立即运行所选任务…
selected-job-cancel = 取消所选任务…
row-job-retry = 重试 1 个任务
row-job-run = 立即运行 1 个任务
row-job-cancel = 取消 1 个任务…
row-batch-pause = 暂停批次
row-batch-resume = 继续批次
row-batch-cancel = 取消批次…
row-batch-retry = 重试失败项…
