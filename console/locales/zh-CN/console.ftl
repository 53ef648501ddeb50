# 框架
skip = 跳到内容
nav = 页面
menu = 菜单
menu-campaigns = 营销
menu-queue = 队列
menu-settings = 设置
overview = 概览
batches = 批次
account = 账户
find = 批次、号码、姓名或消息
find-go = 前往
sign-out = 退出登录
live-lost = 连接已断开，当前显示的数据截至
request-id = 请求编号 { $value }

# 登录
sign-in = 登录
sign-in-wrong = 邮箱或密码不正确。
sign-in-first = 首次启动时，服务器会在启动它的地方说明用哪个邮箱和一次性密码登录。
email = 邮箱
password = 密码
name = 姓名
role = 角色
permissions = 您的权限
sign-out-everywhere = 在所有设备上退出登录

# 概览
needs = 需要您处理
needs-nothing = 没有需要您处理的事项。
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
all-batches = 所有批次

# 列表
sample-what = 消息会发往模拟器，不会真正发送给任何人。可用 50 个虚构联系人试一试：
act-sample = 创建示例联系人和首个营销活动
sample-text = 您好 { "{{ name }}" }，欢迎使用 Paceline！

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
   *[other] 10 秒后取消 { $shown } 个收件人
}
act-retry = { $count ->
   *[other] 重试 { $shown } 个失败的收件人
}
ask-cancel = { $count ->
   *[other] 要取消批次吗？还有 { $shown } 个收件人尚未处理。
}
ask-cancel-what = 您有 10 秒钟可以撤销。此后其余的不再开始，取消后的批次无法继续。
ask-keep = 继续执行
ask-retry = { $count ->
   *[other] 要重试 { $shown } 个失败的收件人吗？
}
ask-retry-what = 将按批次的速度重试。请先查看失败原因：原因未消除的会再次失败。
ask-leave = 保持不变
done-paused = 批次已暂停。
done-resumed = 批次继续执行。
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

# 总览补充
need-dead = { $shown } 个任务已终止，不会再重试。{ $value }
need-parked = { $shown } 个任务在等待更新版本的工作进程：更新工作进程后会自动继续。{ $value }
need-worker = { $shown } 个任务在等待，却没有工作进程领取：工作进程在运行吗？{ $value }
need-failed = 批次 { $value } 失败：{ $count ->
   *[other] { $shown } 位收件人
}。
need-paused = { $count ->
    [0] 批次 { $value } 已暂停。
   *[other] 批次 { $value } 已暂停；{ $shown } 位收件人失败。
}
need-circuit = 发送方 { $value } 的网关不可用。{ $count ->
   *[other] { $shown } 秒
}后再次尝试，其批次届时自动继续。
look-causes = 查看原因
look-batch = 查看批次
workers = 工作进程
worker = 工作进程
worker-seen = 最近出现
workers-idle = 没有工作进程在工作。独占数据库的工作进程只在工作时显示。
first-batch = 还没有批次。请先导入联系人，再向他们发送；开始后会自动显示在这里。
newer = { $count ->
   *[other] { $shown } 个新批次
}
limited-by-gateway = 受网关限制
password-change = 修改密码
password-must = 您使用一次性密码登录。请设置自己的密码，之后即可使用其他所有功能。
password-current = 当前密码
password-new = 新密码
password-again = 再次输入新密码
password-rule = 至少 8 个字符。您的其他会话将结束；API 密钥保留。
password-wrong = 当前密码不正确。
password-same = 新密码与当前密码相同。请另选一个。
password-differs = 两次输入的新密码不一致。请输入相同的密码。
password-short = 新密码太短。请至少输入 8 个字符。
password-long = 新密码太长。最多 256 个字符。
done-password = 密码已修改。您的其他会话已结束。
bad-form = 表单已损坏或过大。{ $value }
bad-choice = “{ $value }”不是可选的值。请从列表中选择。
bad-rate = “{ $value }”不是有效的速度。请输入 1 到 600,000 的整数。
bad-language = “{ $value }”不是控制台的语言。
error-change-password-title = 必须先修改密码
error-change-password = 您使用一次性密码登录。请先修改密码，然后重试。
error-read-only-title = 此控制台仅供查看
error-read-only = 未执行任何操作。控制台被设置为不接受更改（console_read_only）；请使用 API，或询问管理者。
keys = 快捷键
keys-find = 查找批次、联系人或消息
keys-help = 显示快捷键
keys-rows = 下一行、上一行
keys-open = 打开该行
keys-close = 关闭
keys-where = 由此浏览器记住。按“?”查看全部快捷键。
keys-on = 启用单键快捷键

# 单个收件人
recipient-number = 收件人 { $value }
holds = 为什么还没有发送？
hold-under-way = 正在发送：网关尚未答复。
hold-paused = 批次已暂停。恢复批次后会从这里继续。
hold-scheduled = 批次计划开始于
hold-retried = 一次尝试失败。再次尝试的时间
hold-sender-stopped = 发送方已停用。恢复发送方后会从这里继续。
hold-sender-capped = 发送方已达到今天的发送上限。继续的时间
hold-gateway = 网关不可用。网关恢复后批次自动继续；再次尝试的时间
hold-throttled = 网关要求发送方等待至
hold-pace = 前面的收件人先发送，每分钟 { $count ->
   *[other] { $shown } 条
}。
hold-turn = 前面的收件人先发送。
timeline = 时间线
moment-first-attempt = 首次尝试
moment-decided = 结果确定于
message = 消息
times-in = 时间所用时区：

# 新建发送
new-send = 新建发送
send-wrong = 未发送。请先修正：
send-who = 发送给谁
send-who-tags = 带标签的联系人
send-tags-any = 至少带有其中一个标签，用逗号分隔
send-who-list = 指定的联系人
send-list = 带国家代码的电话号码或联系人编号；每行一个，最多 500 个
send-who-all = 所有联系人
send-tags-none = 排除带有这些标签的联系人；不适用于粘贴的列表
send-what = 内容
template = 模板
template-none = 不使用：用下面的文本
send-text = 文本
send-text-help = 收件人的资料写在双花括号中，并注明资料未知时的文字：
send-when = 时间与速度
send-at = 开始时间；留空表示立即。时区：
send-jitter = 每条消息的随机附加延迟，最多多少秒
send-check = 检查
forecast = { $count ->
   *[other] { $shown } 位收件人会收到
}
forecast-starts = 开始于
forecast-now = 按下按钮 10 秒后
forecast-left-out = 不包括的收件人及原因：
forecast-samples = 部分收件人看到的内容：
act-send = { $count ->
   *[other] 发送给 { $shown } 位收件人
}
send-undo = 开始之前可以取消。
send-given-up = 一小时内没有收到新内容，已收到的部分已放弃。请重新提交。{ $value }
send-nobody = 没有人会收到。请选择其他标签或联系人。{ $value }
send-no-text = 文本为空。请填写文本或选择模板。{ $value }
send-long-text = 文本太长。最多 { $value } 个字符。
send-bad-text = 文本无法解析：{ $value }
send-no-tags = 没有填写标签。请填写标签，或选择其他联系人。{ $value }
send-list-size = 粘贴了 { $value } 个联系人。请粘贴 1 到 500 个，更多请使用标签。
send-unknown = 以下不是您的联系人：{ $value }。请先导入，或将其移除。
send-past = “{ $value }”已经过去。
send-twice = 此发送已经完成或正在处理。请在批次中查看。
bad-jitter = “{ $value }”不是有效的延迟。请输入 0 到 600 的整数秒。
bad-time = “{ $value }”不是有效的时间。请选择日期和时间。
bad-tag = “{ $value }”不能作为标签。
done-sent = 发送已接受。
contact-number = 联系人 { $value }

# 联系人
contacts = 联系人
contact = 联系人
contacts-first = 还没有联系人。请从文件导入。
contacts-none = 没有符合条件的联系人。
contact-last = 最近消息
contact-open = 接收批量消息
contact-suppressed = 不接收批量消息，自
contact-since = 创建于
contact-source = 来源
contact-no-batches = 没有批次包含此联系人。
tags = 标签
tags-none = 没有标签。
conversation = 会话
conversation-none = 还没有消息。
conversation-older = 最近 50 条消息；还有更早的消息。
message-in = 对方
message-out = 我方
bad-search = 查找内容太长：最多 { $value } 个字符。
