## 活动人员计划、申请和保存的内容：审批

# 审批
status-approval = 等待审批
need-approval = 批次 { $value }（{ $shown } 位收件人）等待他人审批。
look-approval = 去审批
approval-ask = 向 { $shown } 位收件人发送？
approval-what = 收件人这么多，需要第二个人审批。您批准之前不会发出任何消息；批准后立即开始，或在设定时间开始。请先查看收件人：
approval-note = 备注（可不填）
approval-reason = 拒绝的原因
approval-own = 等待其他人审批，在此之前不会发出任何消息。申请人是您本人，因此您不能审批。
approval-waits = 等待审批，在此之前不会发出任何消息。审批需要权限
approval-approved = 已批准
approval-refused = 已拒绝
approval-pending = 等待审批
act-approve = 批准向 { $shown } 位收件人发送
act-refuse = 拒绝向 { $shown } 位收件人发送
done-approved = 发送已获批准。
done-refused = 发送已被拒绝：不会发出任何消息。
did-batch-approve = 已批准
did-batch-refuse = 已拒绝
hold-approval = 该批次须先由第二个人审批。
error-own-title = 这需要由其他人处理
error-own = 该批次由您申请：须由其他人批准或拒绝。
bad-reason = 请说明原因，最多 { $value } 个字符。

# 批次的速度
course = 速度
course-went = 每分钟完成
course-may = 每分钟上限
course-decided = 累计完成
what-if = 如果更快或更慢？
what-if-rate = 每分钟消息数
what-if-ask = 估算
what-if-at = 按每分钟 { $shown } 条
what-if-ends = 结束于
what-if-unknown = 无法估算结束时间
what-if-set = 将速度设为每分钟 { $shown } 条

# 列表视图
view-shared = 共享
view-delete = 删除视图“{ $value }”
view-keep = 保存此视图…
view-share = 供能看到此列表的所有人使用
act-keep-view = 保存视图
done-view-kept = 视图已保存：显示在筛选条件下方。
done-view-deleted = 视图已删除。
view-name = 请为视图命名，最多 { $value } 个字符。
view-line = 视图需要筛选条件，最多 { $value } 个字符。
view-taken = 您在此列表中已有名为“{ $value }”的视图。
view-many = 您已有 { $value } 个视图。请先删除一个。

# 草稿与测试
drafts = 草稿
draft = 草稿
draft-unnamed = 无文本
drafts-none = 没有草稿。填写新的发送时，内容会自动保存在这里，直到您发送为止。
draft-kept-at = 已存为草稿
act-keep-draft = 存为草稿
act-delete-draft = 删除草稿
done-draft-kept = 草稿已保存。
done-draft-deleted = 草稿已删除。
test-numbers = 测试号码
test-numbers-what = 接收测试消息的电话号码，每行一个，最多 10 个
act-keep-numbers = 保存号码
done-test-kept = 号码已保存。
test-many = 最多可保存 { $value } 个号码。
act-test = 向 { $shown } 个号码发送测试
act-test-none = 发送测试
test-where = 请先保存接收测试的号码：
test-nobody = 未保存测试号码。请在“账户”中添加。{ $value }
done-tested = 测试消息已发出；表单已存为草稿。

# 联系人
contacts-filter-help = 例如：0123456 tag:vip attr.city:Berlin；可填号码、号码中的 4 位数字或姓名的一部分
contacts-partial = 在接下来的 5,000 个联系人中没有更多匹配。请继续查找。
bad-attributes = 最多可查找 { $value } 个属性，每个都要有名称：attr.city:Berlin

# 日历
calendar = 日历
calendar-what = 将自动开始的批次。开始之前可以改期，也可以撤下，不会发出任何消息。
calendar-drag = 可用鼠标拖到另一天，时刻不变；用键盘时请使用其时间字段。
calendar-weeks = 周
calendar-before = 上一周
calendar-now = 本周
calendar-after = 下一周
calendar-file = 下载日历文件（ICS）
calendar-none = 无
calendar-more = 本周开始的批次超过 1,000 个：其余未显示。
calendar-change = 更改…
calendar-at = 开始时间
calendar-recipients = { $shown } 位收件人
act-move = 改期
act-unschedule = 撤下：取消批次
done-moved = 批次将在新时间开始。

# 被拒绝的操作及原因
refused-ended = 批次已结束。
refused-paused = 批次已暂停。
refused-not-paused = 批次未暂停。
refused-awaits-approval = 批次正在等待第二个人审批。
refused-no-approval = 批次无需审批，或已有人审批。
refused-to-be-cancelled = 批次即将被取消。
refused-not-to-be-cancelled = 批次并未等待取消，或已被取消。
refused-under-way = 批次仍在进行中。
refused-cancelled = 批次已取消：剩余部分可作为新的发送，发给尚未收到消息的人。
refused-nothing-failed = 没有失败的收件人。
refused-no-such-cause = 没有因该原因失败且重试可能成功的收件人。
refused-all-invalid = { $shown } 行失败且无效，重试仍会失败。请更正后重新导入。
refused-all-unknown = { $shown } 个失败项的联系人不存在，重试仍会失败。
refused-sends-nothing = 只有发送批次才有速度和时间。
refused-started = 批次没有定时，或已经开始。
warning-nobody = 没有人会收到。
warning-rendered-partly = 已渲染前 10,000 条消息；其余能否渲染尚不可知。
warning-rate-above-sender = 发送方每分钟的上限低于此值：以上限为准。
warning-sender-stopped = 发送方已停止：恢复之前不会发出任何消息。
warning-sender-cap = 发送方已达到今日上限。
warning-sender-circuit = 发送方的网关暂时不可用：恢复之前不会发出任何消息。
warning-sender-busy = 发送方的下一个空位晚于现在。
warning-others-at-work = 其他批次也在使用同一发送方，并共享其速度。
warning-approval = 收件人这么多，需要第二个人：须等其他人审批。
warning-batch-paused = 批次已暂停：以下为现在恢复后的情况。
left-out-contact-not-found = 联系人不存在
left-out-suppressed = 不接收群发消息
left-out-contact-has-no-number = 没有电话号码
left-out-duplicate = 重复
left-out-template-error = 无法为其生成文本
phone-empty = 为空
phone-not-a-number = 不是电话号码
phone-fraction = 是小数，不是电话号码
phone-lost-digits = 末尾数字已在电子表格中丢失
phone-two-numbers = 含有多个号码
phone-unknown-country = 缺少国家代码或代码未知
phone-needs-country = 国家不确定，请以 + 开头填写
phone-impossible = 对其国家而言过短或过长
send-no-template = 模板已不存在。请另选一个。{ $value }
send-no-sender = 发送方已不存在。{ $value }
send-remainder-taken = 批次 { $value } 已由该批次未发送的部分创建。
import-unknown-field = “{ $value }”不是列可以包含的内容。
import-unknown-column = 文件中没有列 { $value }。
import-no-phone = 没有一列像电话号码。请指定。各列为：{ $value }
import-no-sheet = 工作簿中没有工作表 { $value }。
import-bad-encoding = 无法读取文件的文本：{ $value }
import-no-rows = 文件中没有数据行。{ $value }
import-many-rows = 文件超过 { $value } 行。请拆分。
import-bad-workbook = 文件不是可读取的 XLSX 工作簿：{ $value }
