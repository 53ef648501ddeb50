# 框架
skip = 跳到内容
nav = 页面
overview = 概览
batches = 批次
account = 账户
find = 批次编号
find-go = 前往
sign-out = 退出登录
live-lost = 连接已断开，当前显示的数据截至
request-id = 请求编号 { $value }

# 登录
sign-in = 登录
sign-in-wrong = 邮箱或密码不正确。
sign-in-first = 首次启动时，服务器会在启动它的地方打印邮箱和一次性密码。
email = 邮箱
password = 密码
name = 姓名
role = 角色
permissions = 您的权限
sign-out-everywhere = 在所有设备上退出登录

# 概览
needs = 需要您处理
needs-nothing = 没有需要您处理的事项。
need-dead = { $count ->
   *[other] { $shown } 个任务已终止，不会再重试
}
need-paused = { $count ->
   *[other] { $shown } 个批次已暂停
}
lanes = 通道
lane = 通道
lane-behind = 落后
lane-waiting = 等待中的任务
lane-running = 执行中的任务
lane-critical = 紧急
lane-default = 默认
lane-bulk = 批量
seconds = { $shown } 秒
under-way = 进行中
under-way-nothing = 没有进行中的批次。
first-batch = 还没有批次。请通过接口发送第一个批次：POST /batch/send。
all-batches = 所有批次

# 列表
all = 全部
filter = 筛选
filter-clear = 清除筛选
newest = 最新
older = 更早
more = 更多
batches-no-match = 没有符合条件的批次。

# 批次
batch = 批次
batch-number = 批次 { $value }
type = 类型
status = 状态
progress = 进度
moment = 时间
moment-ended = 结束于
moment-starts = 开始于
moment-will-end = 预计结束于
moment-accepted = 接收于
total = 收件人总数
succeeded = 成功
failed = 失败
skipped = 跳过
left = 尚未处理
pace = 速度
pace-none = 网关能接收多快就多快
pace-new = 每分钟消息数
per-minute = 每分钟 { $shown } 条
limited-by-batch = 由本批次设定
limited-by-sender = 发送账号的上限
request = 请求内容
recipients = 收件人
failures = 失败原因
undo = 撤销
act-pause = 暂停批次
act-resume = 继续批次
act-pace = 设定速度
act-cancel-ask = 取消批次…
act-cancel = { $count ->
   *[other] 取消 { $shown } 个收件人
}
act-retry = { $count ->
   *[other] 重试 { $shown } 个失败的收件人
}
ask-cancel = { $count ->
   *[other] 要取消批次吗？还有 { $shown } 个收件人尚未处理。
}
ask-cancel-what = 正在发送的消息会完成并计入结果，其余的不再开始。取消后的批次无法继续。
ask-keep = 继续执行
ask-retry = { $count ->
   *[other] 要重试 { $shown } 个失败的收件人吗？
}
ask-retry-what = 将按批次的速度重试。请先查看失败原因：原因未消除的会再次失败。
ask-leave = 保持不变
done-paused = 批次已暂停。
done-resumed = 批次继续执行。
done-cancelled = 批次已取消。
done-retried = 正在重试失败的收件人。
done-paced = 速度已设定。

# 收件人
place = 序号
number = 号码
attempts = 尝试次数
why = 原因
when = 时间
next-attempt = 下次尝试
recipients-none = 没有符合条件的收件人。
cause = 原因
cause-sample = 示例
cause-last = 最近一次
failures-none = 没有失败。

# 状态
status-pending = 等待中
status-scheduled = 已定时
status-processing = 发送中
status-paused = 已暂停
status-completed = 已完成
status-failed = 失败
status-cancelled = 已取消
type-send = 发送
type-import = 导入
type-tag = 标签
type-delete = 删除
item-pending = 等待中
item-sending = 发送中
item-succeeded = 成功
item-failed = 失败
item-skipped = 跳过
item-cancelled = 已取消
item-unknown = 结果未知

# 错误
error-not-found-title = 没有这个页面
error-not-found = 您要找的内容不存在或已被删除。请检查编号，或从概览开始。
error-forbidden-title = 您无权查看
error-forbidden = 您的角色没有所需的权限。请向管理员申请：
error-sign-in-title = 您尚未登录
error-sign-in = 请登录后重试。
error-forged-title = 表单已失效
error-forged = 它是在您登录之前或由其他网站生成的，因此没有执行任何操作。请返回、刷新页面后再试。
error-method-title = 该地址不接受此操作
error-method = 没有执行任何操作。请从概览开始。
error-bad-title = 有一个值无法接受
error-bad = 没有执行任何操作。请修正后重试：
error-conflict-title = 当前无法执行
error-conflict = 没有执行任何操作。可能有人先您一步：
error-limited-title = 操作过于频繁
error-limited = 没有执行任何操作。请在以下时间后重试：
error-away-title = 数据库不可用
error-away = 没有执行任何操作。请稍后重试；已接收的内容不会丢失。
error-ours-title = 服务器出错
error-ours = 这是我们的问题，已按下面的编号记录在服务器日志中。
